"""Dates and clock times as numbers, and the order of time steps, of columns that hold them as such or as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from pare_tune.data.frames import ABSENT
from pare_tune.errors import DataError
from pare_tune.tasks.columns import Float64

if TYPE_CHECKING:
    import pandas as pd

_ISO: Final = re.compile(r"\d{4}([-/])\d{1,2}\1\d{1,2}([T ]\d.*)?")
_TWO_NUMBERS: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})([T ,]\d.*)?")
_NAMED: Final = re.compile(r"(\d{1,2}[ -])?[A-Za-z]{3,9}[ -](\d{1,2},? )?\d{4}([T ,]\d.*)?")
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:[.,]\d+)?))?(?: ?([AaPp])\.?[Mm]\.?)?")
_COUNTED: Final = re.compile(r"(\D*)(\d+(?:\.\d+)?)(\D*)")
DateOrder: TypeAlias = Literal["", "told", "day first", "month first"]
"""What tells days from months. Nothing is known yet: ""; each date itself: "told"."""
WRITE_DATES: Final = "write dates as 2024-03-01 or 2024-03-01 14:30"


def date_parts(values: pd.Series, where: str, order: DateOrder = "") -> dict[str, Float64] | None:
    """Of dates: days since 1970, month, day of the week (Monday is 0) and hour; of clock times: seconds. NaN for gaps.

    Args:
        order: of days and months that are numbers, where it is known.

    Returns:
        None where the column holds neither.

    Raises:
        DataError: days and months cannot be told apart, or are in another order.
    """
    dates = read_dates(values, where, order)
    if dates is None:
        seconds = _seconds(values)
        return None if seconds is None else {"seconds": seconds}
    parts = {
        "day": (dates - np.datetime64(0, "s")) / np.timedelta64(1, "D"),
        "month": dates.dt.month,
        "weekday": dates.dt.day_of_week,
        "hour": dates.dt.hour,
    }
    return {part: numbers.to_numpy(np.float64, na_value=np.nan) for part, numbers in parts.items()}


def time_order(values: pd.Series, where: str) -> npt.NDArray[Any]:
    """(n,) numbers or dates that sort as the time steps do: of numbers, dates, clock times, or text around one number.

    Raises:
        DataError: the column is none of these.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(values) and not is_bool_dtype(values):
        return values.to_numpy()
    dates = read_dates(values, where)
    if dates is not None and dates.notna().all():
        return dates.to_numpy()
    seconds = _seconds(values)
    if seconds is not None and not np.isnan(seconds).any():
        return seconds
    counted = [_COUNTED.fullmatch(str(v).strip()) for v in values]
    if all(counted) and len({(m[1], m[3]) for m in counted if m}) == 1:
        if any(m[1].endswith(("-", "−")) for m in counted if m):
            raise DataError(f"{where}: {values.iloc[0]!r} can count up or back from there; write numbers")
        return np.array([float(m[2]) for m in counted if m])
    odd = next((v for v, m in zip(values, counted, strict=True) if m is None), values.iloc[0])
    raise DataError(f"{where}: time must be numbers, clock times or dates, found {odd!r}; {WRITE_DATES}")


def passes_midnight(values: pd.Series) -> bool:
    """Whether clock times without dates, in the order given, fall by more than half a day: 23:00, then 0:00."""
    from pandas.api.types import is_timedelta64_dtype

    seconds = None if is_timedelta64_dtype(values) else _seconds(values)
    return seconds is not None and bool((np.diff(seconds) < -12 * 3600).any())


def date_order(values: pd.Series, where: str) -> DateOrder:
    """How a column of dates or clock times is read, so that one of them alone can be. Raises as `read_dates`."""
    texts = _texts(values)
    if texts is None or not texts.dropna().str.fullmatch(_TWO_NUMBERS).all():
        return "told"
    return "day first" if _day_first(texts.dropna(), where) else "month first"


def read_dates(values: pd.Series, where: str, order: DateOrder = "") -> pd.Series | None:
    """datetime64 without a time zone (those with one in UTC), NaT where missing; None where the column holds no dates.

    Args:
        order: of days and months that are numbers; they tell it themselves where it is not known.

    Raises:
        DataError: text can be read day first and month first, or both occur, or the other one than `order`.
    """
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.tz_convert(None) if getattr(values.dt, "tz", None) is not None else values
    texts = _texts(values)
    if texts is None:
        return None
    given = texts.dropna()
    if given.str.fullmatch(_ISO).all():
        form = "ISO8601"
        texts = texts.str.replace("/", "-")
    elif given.str.fullmatch(_NAMED).all():
        form = "mixed"
    elif given.str.fullmatch(_TWO_NUMBERS).all():
        form = "mixed"
        if not _day_first(given, where, order):
            return _parsed(texts, form, dayfirst=False)
    else:
        return None
    return _parsed(texts, form, dayfirst=form == "mixed")


def _parsed(texts: pd.Series, form: str, *, dayfirst: bool) -> pd.Series | None:
    import pandas as pd

    dates = pd.to_datetime(texts, format=form, dayfirst=dayfirst, utc=True, errors="coerce").dt.tz_localize(
        None
    )
    return dates if (dates.isna() == texts.isna()).all() else None


def _day_first(texts: pd.Series, where: str, order: DateOrder = "") -> bool:
    first = texts.str.extract(_TWO_NUMBERS)
    one, two, sign = first[0].astype(int), first[2].astype(int), first[1]
    if order in ("day first", "month first"):
        months = two if order == "day first" else one
        if months.max() > 12:
            raise DataError(f"{where}: {texts[months > 12].iloc[0]!r} was {order} in training; {WRITE_DATES}")
        return order == "day first"
    if one.max() > 12 and two.max() > 12:
        raise DataError(f"{where}: some of its dates have the day first, some the month; {WRITE_DATES}")
    if one.max() <= 12 and two.max() <= 12 and not (sign == ".").all():
        raise DataError(f"{where}: {texts.iloc[0]!r} can be day/month or month/day; {WRITE_DATES}")
    return bool(two.max() <= 12)


def _seconds(values: pd.Series) -> Float64 | None:
    """Clock times as seconds since midnight, and durations as seconds; NaN where missing."""
    import pandas as pd

    if pd.api.types.is_timedelta64_dtype(values):
        return np.asarray(values.dt.total_seconds(), dtype=np.float64)
    texts = _texts(values)
    if texts is None or not texts.dropna().str.fullmatch(_CLOCK).all():
        return None
    hour, minute, second, half = (texts.str.extract(_CLOCK)[i] for i in range(4))
    afternoon = half.str.lower().map({"a": 0.0, "p": 12.0}).astype(np.float64)
    hours = hour.astype(np.float64)
    hours = hours.where(half.isna(), hours % 12 + afternoon)
    seconds = second.str.replace(",", ".").astype(np.float64).fillna(0.0)
    return np.asarray(3600 * hours + 60 * minute.astype(np.float64) + seconds, dtype=np.float64)


def _texts(values: pd.Series) -> pd.Series | None:
    """Text without the blanks around it, `ABSENT` as missing; None where there is none, or there are numbers."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values) or isinstance(values.dtype, pd.CategoricalDtype):
        return None
    texts = values.where(values.notna(), None).map(str, na_action="ignore").astype("string").str.strip()
    texts = texts.mask(texts.isin(ABSENT))
    return texts if texts.notna().any() else None
