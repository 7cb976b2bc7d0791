//! Events as the columns of a record batch.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringViewBuilder,
    TimestampNanosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::event::{Action, Event, PRODUCTS};
use crate::Result;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    Arc::new(Schema::new(vec![
        Field::new("event_id", DataType::Int64, false),
        Field::new("ts", time, false),
        Field::new("user_id", DataType::Int64, false),
        Field::new("session_id", DataType::Int64, false),
        Field::new("ip", DataType::Utf8View, false),
        Field::new("country", DataType::Utf8View, false),
        Field::new("page", DataType::Utf8View, false),
        Field::new("action", DataType::Utf8View, false),
        Field::new("amount", DataType::Float64, true),
        Field::new("attack", DataType::Utf8View, true),
    ]))
});

static PRODUCT_PAGES: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..PRODUCTS)
        .map(|product| format!("/p/{product}"))
        .collect()
});

static OCTETS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..=u8::MAX).map(|octet| format!(".{octet}")).collect());

/// The columns of an event.
///
/// | column | type | meaning |
/// |---|---|---|
/// | `event_id` | BIGINT | the event's number |
/// | `ts` | TIMESTAMP | event time; grows with the number, one event every 100 ms on average |
/// | `user_id` | BIGINT | the account, counting from 1 |
/// | `session_id` | BIGINT | the visit that the event belongs to |
/// | `ip` | TEXT | the visitor's address, within 10.0.0.0/8 |
/// | `country` | TEXT | where the address is, a two-letter code |
/// | `page` | TEXT | the page's path |
/// | `action` | TEXT | view, search, add_to_cart, purchase, login or login_failed |
/// | `amount` | DOUBLE | what a purchase cost, else NULL |
/// | `attack` | TEXT | the truth: the [kind of attack](super::Attack) or NULL; for scoring only |
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// A record batch under construction.
pub(super) struct Columns {
    event_id: Int64Builder,
    ts: TimestampNanosecondBuilder,
    user_id: Int64Builder,
    session_id: Int64Builder,
    ip: StringViewBuilder,
    country: StringViewBuilder,
    page: StringViewBuilder,
    action: StringViewBuilder,
    amount: Float64Builder,
    attack: StringViewBuilder,
    text: String,
}

impl Columns {
    /// Columns with room for `rows` events.
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            event_id: Int64Builder::with_capacity(rows),
            ts: TimestampNanosecondBuilder::with_capacity(rows),
            user_id: Int64Builder::with_capacity(rows),
            session_id: Int64Builder::with_capacity(rows),
            ip: StringViewBuilder::with_capacity(rows),
            country: StringViewBuilder::with_capacity(rows),
            page: StringViewBuilder::with_capacity(rows),
            action: StringViewBuilder::with_capacity(rows),
            amount: Float64Builder::with_capacity(rows),
            attack: StringViewBuilder::with_capacity(rows),
            text: String::with_capacity(16),
        }
    }

    /// Adds one event.
    pub(super) fn push(&mut self, event: &Event) {
        self.event_id.append_value(event.number as i64);
        self.ts.append_value(event.time_ns);
        self.user_id.append_value(event.user as i64 + 1);
        self.session_id.append_value(event.visit.number as i64);
        self.text.clear();
        self.text.push_str("10");
        for octet in event.visit.address.octets() {
            self.text.push_str(&OCTETS[usize::from(octet)]);
        }
        self.ip.append_value(&self.text);
        self.country.append_value(event.visit.country.code());
        self.page.append_value(page(event.action));
        self.action.append_value(event.action.name());
        self.amount.append_option(event.action.amount());
        self.attack
            .append_option(event.attack().map(super::Attack::name));
    }

    /// The events as a record batch of [`schema`].
    pub(super) fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.event_id.finish()),
            Arc::new(self.ts.finish()),
            Arc::new(self.user_id.finish()),
            Arc::new(self.session_id.finish()),
            Arc::new(self.ip.finish()),
            Arc::new(self.country.finish()),
            Arc::new(self.page.finish()),
            Arc::new(self.action.finish()),
            Arc::new(self.amount.finish()),
            Arc::new(self.attack.finish()),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

fn page(action: Action) -> &'static str {
    match action {
        Action::View(product) => PRODUCT_PAGES
            .get(product as usize)
            .map_or("/", String::as_str),
        Action::Search => "/search",
        Action::AddToCart => "/cart",
        Action::Purchase(_) => "/checkout",
        Action::Login | Action::LoginFailed => "/login",
    }
}
