//! The functions of windows. `tumble` is computed row by row; the others that group rows are only names until the rule
//! has put operators in their place, because a row may belong to several windows or needs its neighbours to know its own.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::assign::{Layout, MOST_WINDOWS, TimeType, tumble};
use super::length::length;
use crate::event_time::mark;

/// What a window function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `tumble([time,] width)`.
    Tumble,
    /// `hop([time,] slide, width)`.
    Hop,
    /// `cumulate([time,] step, width)`.
    Cumulate,
    /// `session([time,] gap)`.
    Session,
    /// `session_window(time, gap, key, …)`: the session among rows of equal keys.
    SessionWindow,
    /// `hop_windows(time, slide, width)`: the list of windows that [`Kind::Hop`] stands for.
    HopList,
    /// `cumulate_windows(time, step, width)`: the list of windows that [`Kind::Cumulate`] stands for.
    CumulateList,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Tumble,
        Self::Hop,
        Self::Cumulate,
        Self::Session,
        Self::SessionWindow,
        Self::HopList,
        Self::CumulateList,
    ];

    /// The function's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tumble => "tumble",
            Self::Hop => "hop",
            Self::Cumulate => "cumulate",
            Self::Session => "session",
            Self::SessionWindow => "session_window",
            Self::HopList => "hop_windows",
            Self::CumulateList => "cumulate_windows",
        }
    }

    /// The lengths that it is given.
    fn lengths(self) -> &'static [&'static str] {
        match self {
            Self::Tumble => &["width"],
            Self::Hop | Self::HopList => &["slide", "width"],
            Self::Cumulate | Self::CumulateList => &["step", "width"],
            Self::Session | Self::SessionWindow => &["gap"],
        }
    }

    /// Whether the time column may be left out.
    fn time_is_optional(self) -> bool {
        matches!(
            self,
            Self::Tumble | Self::Hop | Self::Cumulate | Self::Session
        )
    }

    /// Whether a call of it with `arguments` leaves the time column out.
    pub(super) fn lacks_time(self, arguments: usize) -> bool {
        self.time_is_optional() && arguments == self.lengths().len()
    }

    /// Where the lengths are among so many arguments.
    pub(super) fn lengths_of(self, arguments: usize) -> Range<usize> {
        let first = usize::from(!self.lacks_time(arguments));
        first..first + self.lengths().len()
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Tumble => "tumble(width) or tumble(time, width)",
            Self::Hop => "hop(slide, width) or hop(time, slide, width)",
            Self::Cumulate => "cumulate(step, width) or cumulate(time, step, width)",
            Self::Session => "session(gap) or session(time, gap)",
            Self::SessionWindow => "session_window(time, gap, key, …)",
            Self::HopList => "hop_windows(time, slide, width)",
            Self::CumulateList => "cumulate_windows(time, step, width)",
        }
    }

    /// The function itself.
    pub(super) fn function(self) -> Arc<ScalarUDF> {
        Arc::clone(&FUNCTIONS[self as usize])
    }
}

static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let functions = Kind::ALL.map(|kind| Arc::new(ScalarUDF::from(WindowFunction::new(kind))));
    functions.to_vec()
});

/// All functions of windows, to be registered with a session.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = FUNCTIONS.clone();
    functions.push(Arc::new(ScalarUDF::from(WindowTime::new())));
    functions
}

/// The type of the windows over a time column of type `time`.
///
/// # Errors
/// If `time` is no timestamp.
pub(super) fn time_type(function: &str, time: &DataType) -> Result<TimeType> {
    match time {
        DataType::Timestamp(unit, zone) => Ok(TimeType {
            unit: *unit,
            zone: zone.clone(),
        }),
        other => plan_err!(
            "the time of {function} is of type {other}, not TIMESTAMP: cast it, as in CAST(… AS TIMESTAMP)"
        ),
    }
}

/// A call with its literals read.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) time: TimeType,
    /// Those of [`Kind::lengths`], in the unit of the time column.
    pub(super) lengths: Vec<i64>,
    nullable: bool,
}

impl Call {
    /// Reads the call of a function from the fields of its arguments and those of their values that are literals.
    ///
    /// # Errors
    /// A planning error for arguments that do not fit.
    pub(super) fn read(
        kind: Kind,
        fields: &[FieldRef],
        literals: &[Option<&ScalarValue>],
    ) -> Result<Self> {
        let names = kind.lengths();
        let lacks_time = kind.lacks_time(fields.len());
        let first = usize::from(!lacks_time);
        let fits = match kind {
            Kind::SessionWindow => fields.len() > names.len(),
            _ => fields.len() == names.len() + first,
        };
        if !fits {
            return plan_err!(
                "{} has {} arguments: write {}",
                kind.name(),
                fields.len(),
                kind.usage()
            );
        }
        let (time, nullable) = match fields.first() {
            Some(time) if !lacks_time => (
                time_type(kind.name(), time.data_type())?,
                time.is_nullable(),
            ),
            // Until the time column is found.
            _ => (
                TimeType {
                    unit: TimeUnit::Nanosecond,
                    zone: None,
                },
                true,
            ),
        };
        let mut lengths = Vec::with_capacity(names.len());
        for (name, literal) in names.iter().zip(literals.iter().skip(first)) {
            let what = format!("the {name} of {}", kind.name());
            let Some(literal) = literal else {
                return plan_err!(
                    "{what} must be a literal such as INTERVAL '10 minutes': write {}",
                    kind.usage()
                );
            };
            lengths.push(length(&what, literal, time.unit)?);
        }
        let call = Self {
            time,
            lengths,
            nullable,
        };
        call.check(kind)?;
        Ok(call)
    }

    fn check(&self, kind: Kind) -> Result<()> {
        let [step, width] = self.lengths.as_slice() else {
            return Ok(());
        };
        let (step_name, name) = (kind.lengths()[0], kind.name());
        if width / step > MOST_WINDOWS {
            return plan_err!(
                "{name} would put each row into more than {MOST_WINDOWS} windows: use a longer {step_name}"
            );
        }
        if matches!(kind, Kind::Cumulate | Kind::CumulateList) && width % step != 0 {
            return plan_err!("the width of {name} must be a multiple of its step");
        }
        Ok(())
    }

    /// As [`read`](Self::read), from arguments over columns of `schema`.
    pub(super) fn of(kind: Kind, args: &[Expr], schema: &DFSchema) -> Result<Self> {
        let fields = args.iter().map(|arg| Ok(arg.to_field(schema)?.1));
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let literals = args.iter().map(|arg| match arg {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        });
        Self::read(kind, &fields, &literals.collect::<Vec<_>>())
    }

    fn layout(&self, kind: Kind) -> Option<Layout> {
        match (kind, self.lengths.as_slice()) {
            (Kind::HopList, &[slide, width]) => Some(Layout::Hop { slide, width }),
            (Kind::CumulateList, &[step, width]) => Some(Layout::Cumulate { step, width }),
            _ => None,
        }
    }
}

/// One of the functions that give windows.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WindowFunction {
    pub(super) kind: Kind,
    signature: Signature,
}

impl WindowFunction {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{} gives a type by its arguments' fields", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let call = Call::read(self.kind, args.arg_fields, args.scalar_arguments)?;
        let (data_type, nullable) = match call.layout(self.kind) {
            Some(_) => (DataType::List(call.time.item()), false),
            None => (call.time.window(), call.nullable),
        };
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let literals: Vec<Option<&ScalarValue>> = (args.args.iter())
            .map(|arg| match arg {
                ColumnarValue::Scalar(value) => Some(value),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let call = Call::read(self.kind, &args.arg_fields, &literals)?;
        let layout = call.layout(self.kind);
        if (layout.is_none() && self.kind != Kind::Tumble) || self.kind.lacks_time(args.args.len())
        {
            return plan_err!(
                "{} cannot be computed row by row: the session lacks the rule that plans windows, or it was added too late",
                self.name()
            );
        }
        let Some(time) = args.args.first() else {
            return internal_err!("{} has no time", self.name());
        };
        let array = match time {
            ColumnarValue::Array(array) => Arc::clone(array),
            ColumnarValue::Scalar(value) => value.to_array()?,
        };
        let (times, nulls) = counts(&array)?;
        let windows: ArrayRef = match (layout, call.lengths.first()) {
            (Some(layout), _) => {
                Arc::new(layout.lists(times.values(), nulls.as_ref(), &call.time)?)
            }
            (None, Some(&width)) => {
                Arc::new(tumble(times.values(), width).into_array(&call.time, nulls)?)
            }
            (None, None) => return internal_err!("tumble has no width"),
        };
        Ok(match time {
            ColumnarValue::Array(_) => ColumnarValue::Array(windows),
            ColumnarValue::Scalar(_) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&windows, 0)?)
            }
        })
    }
}

/// Timestamps as counts since the epoch, and which of them are NULL.
pub(super) fn counts(times: &ArrayRef) -> Result<(Int64Array, Option<NullBuffer>)> {
    let counts = cast(times, &DataType::Int64)?;
    let counts = counts.as_primitive::<Int64Type>().clone();
    let nulls = counts.nulls().cloned();
    Ok((counts, nulls))
}

/// `window_time(window)`: the last time that still belongs to a window, its end less one of the column's unit. It is an event
/// time, so that windows of windows are over it: the window that ends at midnight belongs to the day that ends there.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowTime {
    signature: Signature,
}

impl WindowTime {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for WindowTime {
    fn name(&self) -> &str {
        "window_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("window_time gives a type by its argument's field")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [window] = args.arg_fields else {
            return internal_err!("window_time has one argument");
        };
        let end = match window.data_type() {
            DataType::Struct(fields) => fields.find("end").map(|(_, end)| end.data_type()),
            _ => None,
        };
        match end {
            Some(end @ DataType::Timestamp(..)) => {
                let field = Field::new(self.name(), end.clone(), true);
                Ok(Arc::new(mark(&field)))
            }
            _ => plan_err!(
                "the argument of window_time is of type {}, not a window as tumble, hop or session give one",
                window.data_type()
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [window] = args.args.as_slice() else {
            return internal_err!("window_time has one argument");
        };
        let times = |windows: &StructArray| -> Result<ArrayRef> {
            let Some(end) = windows.column_by_name("end") else {
                return internal_err!("a window has an end");
            };
            let (ends, nulls) = counts(end)?;
            let times = ends.values().iter().map(|end| end.saturating_sub(1));
            let nulls = NullBuffer::union(nulls.as_ref(), windows.nulls());
            let times = Int64Array::new(times.collect(), nulls);
            Ok(cast(&times, end.data_type())?)
        };
        Ok(match window {
            ColumnarValue::Array(windows) => ColumnarValue::Array(times(windows.as_struct())?),
            ColumnarValue::Scalar(window) => {
                let times = times(window.to_array()?.as_struct())?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_function_of_its_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.function().name(), kind.name());
        }
    }
}
