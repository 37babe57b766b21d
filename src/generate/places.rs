//! Where generated people live: countries with their cities, currencies,
//! languages and addresses. Weights are shares of the population, roughly.

use super::record::Currency;

/// A country.
#[derive(Debug)]
pub struct Country {
    /// ISO 3166 alpha-2 code.
    pub code: &'static str,
    /// What is paid in.
    pub currency: Currency,
    /// The language of its devices.
    pub language: &'static str,
    /// The first number of its addresses.
    pub network: u8,
    /// Its share of the population among all the weights.
    pub weight: u64,
    /// Whether stolen cards are used there more often.
    pub risky: bool,
    /// Its cities; never none.
    pub cities: &'static [City],
}

/// A city.
#[derive(Debug)]
pub struct City {
    /// Its name.
    pub name: &'static str,
    /// Latitude in degrees.
    pub latitude: f64,
    /// Longitude in degrees.
    pub longitude: f64,
    /// IANA name.
    pub timezone: &'static str,
}

const fn city(name: &'static str, latitude: f64, longitude: f64, timezone: &'static str) -> City {
    City { name, latitude, longitude, timezone }
}

const fn country(
    code: &'static str,
    currency: Currency,
    language: &'static str,
    network: u8,
    weight: u64,
    risky: bool,
    cities: &'static [City],
) -> Country {
    Country { code, currency, language, network, weight, risky, cities }
}

const US: &[City] = &[
    city("New York", 40.71, -74.01, "America/New_York"),
    city("Chicago", 41.88, -87.63, "America/Chicago"),
    city("Denver", 39.74, -104.99, "America/Denver"),
    city("San Francisco", 37.77, -122.42, "America/Los_Angeles"),
    city("Austin", 30.27, -97.74, "America/Chicago"),
];
const GB: &[City] = &[
    city("London", 51.51, -0.13, "Europe/London"),
    city("Manchester", 53.48, -2.24, "Europe/London"),
    city("Edinburgh", 55.95, -3.19, "Europe/London"),
];
const DE: &[City] = &[
    city("Berlin", 52.52, 13.40, "Europe/Berlin"),
    city("Hamburg", 53.55, 9.99, "Europe/Berlin"),
    city("Munich", 48.14, 11.58, "Europe/Berlin"),
];
const FR: &[City] = &[city("Paris", 48.86, 2.35, "Europe/Paris"), city("Lyon", 45.76, 4.84, "Europe/Paris")];
const ES: &[City] =
    &[city("Madrid", 40.42, -3.70, "Europe/Madrid"), city("Barcelona", 41.39, 2.17, "Europe/Madrid")];
const CH: &[City] = &[city("Zurich", 47.38, 8.54, "Europe/Zurich")];
const JP: &[City] = &[city("Tokyo", 35.68, 139.69, "Asia/Tokyo"), city("Osaka", 34.69, 135.50, "Asia/Tokyo")];
const CA: &[City] = &[
    city("Toronto", 43.65, -79.38, "America/Toronto"),
    city("Vancouver", 49.28, -123.12, "America/Vancouver"),
];
const AU: &[City] = &[
    city("Sydney", -33.87, 151.21, "Australia/Sydney"),
    city("Melbourne", -37.81, 144.96, "Australia/Melbourne"),
];
const IN: &[City] =
    &[city("Mumbai", 19.08, 72.88, "Asia/Kolkata"), city("Bengaluru", 12.97, 77.59, "Asia/Kolkata")];
const BR: &[City] = &[
    city("Sao Paulo", -23.55, -46.63, "America/Sao_Paulo"),
    city("Recife", -8.05, -34.88, "America/Recife"),
];
const MX: &[City] = &[
    city("Mexico City", 19.43, -99.13, "America/Mexico_City"),
    city("Tijuana", 32.51, -117.04, "America/Tijuana"),
];
const CN: &[City] =
    &[city("Shanghai", 31.23, 121.47, "Asia/Shanghai"), city("Shenzhen", 22.54, 114.06, "Asia/Shanghai")];
const NG: &[City] = &[city("Lagos", 6.52, 3.38, "Africa/Lagos"), city("Abuja", 9.08, 7.40, "Africa/Lagos")];
const RU: &[City] = &[city("Moscow", 55.76, 37.62, "Europe/Moscow")];
const ID: &[City] = &[city("Jakarta", -6.21, 106.85, "Asia/Jakarta")];
const VN: &[City] = &[city("Hanoi", 21.03, 105.85, "Asia/Ho_Chi_Minh")];

/// Every country. The risky ones are those that the shipped view
/// `transaction` calls so.
pub const COUNTRIES: &[Country] = &[
    country("US", Currency::Usd, "en-US", 24, 38, false, US),
    country("GB", Currency::Gbp, "en-GB", 81, 12, false, GB),
    country("DE", Currency::Eur, "de-DE", 84, 10, false, DE),
    country("FR", Currency::Eur, "fr-FR", 90, 7, false, FR),
    country("ES", Currency::Eur, "es-ES", 88, 5, false, ES),
    country("CH", Currency::Chf, "de-CH", 178, 2, false, CH),
    country("JP", Currency::Jpy, "ja-JP", 126, 6, false, JP),
    country("CA", Currency::Cad, "en-CA", 99, 4, false, CA),
    country("AU", Currency::Aud, "en-AU", 101, 3, false, AU),
    country("IN", Currency::Inr, "en-IN", 103, 4, true, IN),
    country("BR", Currency::Brl, "pt-BR", 177, 3, true, BR),
    country("MX", Currency::Mxn, "es-MX", 187, 2, true, MX),
    country("CN", Currency::Cny, "zh-CN", 113, 2, true, CN),
    country("NG", Currency::Ngn, "en-NG", 105, 1, true, NG),
    country("RU", Currency::Usd, "ru-RU", 95, 1, true, RU),
    country("ID", Currency::Usd, "id-ID", 114, 1, true, ID),
    country("VN", Currency::Usd, "vi-VN", 116, 1, true, VN),
];
