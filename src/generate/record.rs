//! The records of the shipped streams as the encoder takes them. Field names
//! and their order are those of `schemas/`: a field out of order would cost
//! the encoder a buffer of its own.
//!
//! A stream has one record, filled anew for each event, so that its texts keep
//! their buffers.

use serde::{Serialize, Serializer};

/// A text that may be absent and keeps its buffer when it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionalText {
    text: String,
    present: bool,
}

impl OptionalText {
    /// Makes it absent.
    pub const fn clear(&mut self) {
        self.present = false;
    }

    /// Makes it present and empty, to be written to.
    pub fn start(&mut self) -> &mut String {
        self.present = true;
        self.text.clear();
        &mut self.text
    }

    /// The text, if present.
    pub fn get(&self) -> Option<&str> {
        self.present.then_some(self.text.as_str())
    }
}

impl Serialize for OptionalText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

/// The `metadata` of an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metadata(pub &'static [(&'static str, &'static str)]);

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Currencies, in the order of the schema. The first four are version 1's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    #[default]
    Usd,
    Eur,
    Gbp,
    Jpy,
    Cny,
    Inr,
    Brl,
    Cad,
    Aud,
    Chf,
    Mxn,
    Ngn,
}

impl Currency {
    /// The currency as version 1 can say it.
    #[must_use]
    pub const fn in_version_1(self) -> Self {
        match self {
            Self::Usd | Self::Eur | Self::Gbp | Self::Jpy => self,
            _ => Self::Usd,
        }
    }

    /// How many of it about equal one US dollar: amounts look like their currency.
    pub const fn per_dollar(self) -> f64 {
        match self {
            Self::Usd | Self::Eur | Self::Gbp | Self::Chf => 1.0,
            Self::Cad | Self::Aud => 1.5,
            Self::Brl => 5.0,
            Self::Cny => 7.0,
            Self::Mxn => 18.0,
            Self::Inr => 80.0,
            Self::Jpy => 150.0,
            Self::Ngn => 1500.0,
        }
    }
}

/// How a card was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentMethod {
    /// Chip or stripe.
    CardPresent,
    /// Its number, on a page or by telephone.
    CardNotPresent,
    /// Held to a reader.
    Contactless,
    /// Through a telephone or watch.
    Wallet,
    /// Not said.
    #[default]
    Unknown,
}

/// A transaction, version 2.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Transaction {
    pub txn_id: String,
    pub card_id: String,
    pub user_id: String,
    pub amount: f64,
    pub currency: Currency,
    pub mcc: &'static str,
    pub device_id: String,
    pub ip_address: String,
    pub geo_country: Option<&'static str>,
    pub geo_city: Option<&'static str>,
    pub geo_lat: Option<f64>,
    pub geo_lon: Option<f64>,
    pub timestamp: i64,
    pub processing_time: Option<i64>,
    pub metadata: Metadata,
    pub merchant_id: OptionalText,
    pub merchant_name: Option<&'static str>,
    pub merchant_category: Option<&'static str>,
    pub risk_score: Option<f64>,
    pub payment_method: PaymentMethod,
    pub is_fraud: bool,
}

/// What version 1 says of a transaction.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename = "Transaction")]
pub struct TransactionV1<'a> {
    txn_id: &'a str,
    card_id: &'a str,
    user_id: &'a str,
    amount: f64,
    currency: Currency,
    mcc: &'static str,
    device_id: &'a str,
    ip_address: &'a str,
    geo_country: Option<&'static str>,
    geo_city: Option<&'static str>,
    geo_lat: Option<f64>,
    geo_lon: Option<f64>,
    timestamp: i64,
    processing_time: Option<i64>,
    metadata: Metadata,
}

impl<'a> From<&'a Transaction> for TransactionV1<'a> {
    fn from(transaction: &'a Transaction) -> Self {
        Self {
            txn_id: &transaction.txn_id,
            card_id: &transaction.card_id,
            user_id: &transaction.user_id,
            amount: transaction.amount,
            currency: transaction.currency.in_version_1(),
            mcc: transaction.mcc,
            device_id: &transaction.device_id,
            ip_address: &transaction.ip_address,
            geo_country: transaction.geo_country,
            geo_city: transaction.geo_city,
            geo_lat: transaction.geo_lat,
            geo_lon: transaction.geo_lon,
            timestamp: transaction.timestamp,
            processing_time: transaction.processing_time,
            metadata: transaction.metadata,
        }
    }
}

/// Kinds of page, in the order of the schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PageType {
    Home,
    Category,
    Search,
    Product,
    Cart,
    Checkout,
    Confirmation,
    #[default]
    Other,
}

/// What a user does on a page, in the order of the schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ActionType {
    #[default]
    View,
    Click,
    AddToCart,
    RemoveFromCart,
    Purchase,
    Search,
}

/// A click.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Click {
    pub event_id: String,
    pub user_id: String,
    pub session_id: String,
    pub page_url: String,
    pub page_type: PageType,
    pub item_id: OptionalText,
    pub category_id: Option<&'static str>,
    pub action_type: ActionType,
    pub referrer_url: Option<&'static str>,
    pub device_id: String,
    pub user_agent: Option<&'static str>,
    pub ip_address: String,
    pub dwell_time_ms: Option<i64>,
    pub scroll_depth: Option<f64>,
    pub timestamp: i64,
    pub processing_time: Option<i64>,
    pub experiment_ids: &'static [&'static str],
    pub metadata: Metadata,
}

/// A device seen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Device {
    pub device_id: String,
    pub user_agent: &'static str,
    pub screen_resolution: &'static str,
    pub timezone: &'static str,
    pub language: &'static str,
    pub ip_address: String,
    pub timestamp: i64,
    pub metadata: Metadata,
}
