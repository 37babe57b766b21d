//! Devices that report what they are: on starting, and when they change network.

use rand::RngExt;

use super::Moment;
use super::population::{Population, Random};
use super::record::{Device, Metadata};
use super::text::{set_address, set_number};

/// The stream of devices.
#[derive(Debug, Default)]
pub struct Devices {
    record: Device,
}

impl Devices {
    /// The event made last.
    pub const fn record(&self) -> &Device {
        &self.record
    }

    /// Makes the next one.
    pub fn make(&mut self, population: &Population, random: &mut Random, moment: Moment) {
        let device = population.draw(random);
        // A device's number is its owner's.
        let owner = population.person(device);
        let (country, city) = population.whereabouts(device, &owner, moment.event_ms);
        let (model, screen) = population.model(device);
        let record = &mut self.record;
        set_number(&mut record.device_id, "dev_", device);
        record.user_agent = model.user_agent;
        record.screen_resolution = screen;
        record.timezone = city.timezone;
        record.language = owner.country.language;
        match random.random_range(0..100) {
            0 => set_address(&mut record.ip_address, "vpn_", country.network, random.random()),
            1..30 => set_address(&mut record.ip_address, "", country.network, random.random()),
            _ => set_address(&mut record.ip_address, "", country.network, owner.host),
        }
        record.timestamp = moment.event_ms;
        record.metadata = Metadata(model.metadata);
    }
}
