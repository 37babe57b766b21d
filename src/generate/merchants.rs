//! Where cards are used: kinds of shop, with what people pay there.

/// A kind of shop.
#[derive(Debug)]
pub struct Shop {
    /// Merchant category code.
    pub mcc: &'static str,
    /// The category in words.
    pub category: &'static str,
    /// Names of such shops; never none.
    pub names: &'static [&'static str],
    /// Times the usual payment of the one who pays.
    pub factor: f64,
    /// How often people go there, among all the weights.
    pub weight: u64,
    /// Whether it is on the Internet.
    pub online: bool,
}

const fn shop(
    mcc: &'static str,
    category: &'static str,
    names: &'static [&'static str],
    factor: f64,
    weight: u64,
    online: bool,
) -> Shop {
    Shop { mcc, category, names, factor, weight, online }
}

/// Cash machines: they give round amounts.
pub const CASH: &str = "6011";

/// Every kind of shop.
pub const SHOPS: &[Shop] = &[
    shop("5411", "groceries", &["Fresh Corner", "Daily Market", "Green Basket"], 1.2, 24, false),
    shop("5812", "restaurants", &["Trattoria Sole", "Golden Wok", "The Oak Table"], 1.5, 14, false),
    shop("5814", "fast food", &["Burger Yard", "Noodle Bar", "Pita Point"], 0.5, 12, false),
    shop("5541", "petrol", &["Northway Fuel", "Star Petrol"], 1.8, 9, false),
    shop("4121", "taxis", &["City Cab", "Swift Ride"], 0.8, 7, true),
    shop("5912", "pharmacies", &["Care Pharmacy", "Corner Chemist"], 0.7, 6, false),
    shop("5942", "books", &["Paper Moon Books"], 0.9, 4, true),
    shop("5651", "clothing", &["Thread and Co", "Loom Street"], 2.5, 6, true),
    shop("5732", "electronics", &["Volt Store", "Circuit Hall"], 6.0, 3, true),
    shop("4899", "television and streaming", &["Streamline TV"], 0.6, 4, true),
    shop("5815", "digital goods", &["Pixel Arcade", "App Depot"], 0.3, 5, true),
    shop("5311", "department stores", &["Harbour Stores", "Grand Mall"], 2.8, 4, false),
    shop("4511", "airlines", &["Blue Wing Air", "Trans Polar"], 12.0, 1, true),
    shop(CASH, "cash machines", &["ATM Central", "ATM Station"], 3.0, 3, false),
    shop("7011", "hotels", &["Hotel Meridian", "Harbour Inn"], 8.0, 1, false),
    shop("7995", "betting", &["Lucky Line"], 2.0, 1, true),
];

/// Where stolen cards are tried with small amounts.
pub const TESTED_AT: &[Shop] = &[
    shop("5815", "digital goods", &["Pixel Arcade", "App Depot"], 0.3, 1, true),
    shop("5967", "telemarketing", &["Direct Call Club"], 0.3, 1, true),
    shop("8398", "charities", &["Open Hand Fund"], 0.3, 1, true),
];

/// Where they are then emptied.
pub const EMPTIED_AT: &[Shop] = &[
    shop(CASH, "cash machines", &["ATM Airport", "ATM Harbour"], 1.0, 1, false),
    shop("5967", "telemarketing", &["Direct Call Club"], 1.0, 1, true),
    shop("7011", "hotels", &["Palm Resort"], 1.0, 1, true),
    shop("7995", "betting", &["Lucky Line", "Red Black Club"], 1.0, 1, true),
    shop("5732", "electronics", &["Volt Store"], 1.0, 1, true),
    shop("5944", "jewellery", &["Carat House"], 1.0, 1, true),
];

/// A shop by a hash, the frequented kinds more often.
pub fn frequented(hash: u64) -> &'static Shop {
    let total: u64 = SHOPS.iter().map(|shop| shop.weight).sum();
    let mut rest = hash % total;
    for shop in SHOPS {
        if rest < shop.weight {
            return shop;
        }
        rest -= shop.weight;
    }
    &SHOPS[0]
}
