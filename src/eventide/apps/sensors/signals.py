"""The fifty signals of the simulated network: what each sensor parameter looks like over a day."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["SIGNALS", "Signal"]


class Signal(NamedTuple):
    """The make-up of one stream; all amounts in the value's unit.

    Attributes
    ----------
    sensor, parameter, unit
        Names and unit; counts are raw instrument counts.
    level, wave
        Mean of the day and amplitude of the daily wave.
    peak
        Part of the day at which the wave is highest (0.6 is 14:24).
    noise, wander
        Standard deviation of the noise of each value, and amplitude of slow changes.
    decimals
        Digits after the point in the text that is sent.
    low, high
        Where the instrument saturates.
    """

    sensor: str
    parameter: str
    unit: str
    level: float
    wave: float
    peak: float
    noise: float
    wander: float
    decimals: int
    low: float
    high: float


def _temperature(sensor: str, level: float, *, wave: float = 4.0, parameter: str = "temperature") -> Signal:
    return Signal(sensor, parameter, "degC", level, wave, 0.63, 0.12, 0.4, 3, -40, 80)


def _humidity(sensor: str, level: float) -> Signal:
    return Signal(sensor, "humidity", "%", level, -12, 0.63, 0.5, 2.0, 2, 0, 100)


def _gas(parameter: str, level: float, *, wave: float, noise: float) -> Signal:
    return Signal("Chemsense", parameter, "counts", level, wave, 0.35, noise, 1.5 * noise, 0, 1, 60_000)


def _light(sensor: str, parameter: str, level: float) -> Signal:
    return Signal(sensor, parameter, "counts", level, 0.45 * level, 0.53, 0.02 * level, 0.03 * level, 0, 0, 60_000)


def _axis(sensor: str, parameter: str, level: float, *, unit: str) -> Signal:
    return Signal(sensor, parameter, unit, level, 0.5, 0.5, 2.0, 1.0, 2, -7900, 7900)


def _particles(parameter: str, level: float) -> Signal:
    return Signal("OPCN2", parameter, "ug/m3", level, 0.2 * level, 0.33, 0.06 * level, 0.08 * level, 3, 0, 1900)


SIGNALS: Final = (
    _gas("no2", 530, wave=40, noise=20),
    _temperature("TSYS01", 17.0),
    _gas("so2", 8900, wave=120, noise=60),
    _humidity("HTU21D", 62),
    _gas("o3", 3200, wave=250, noise=35),
    Signal("BMP180", "pressure", "hPa", 996.0, 0.8, 0.4, 0.08, 1.2, 2, 300, 1100),
    _gas("co", 3900, wave=200, noise=30),
    _temperature("BMP180", 18.5),
    _light("TSL250RD", "intensity", 21000),
    _particles("pm2_5", 11),
    _gas("h2s", 120, wave=8, noise=3),
    _temperature("HTU21D", 17.2),
    _gas("oxidizing_gases", 7100, wave=300, noise=70),
    _gas("reducing_gases", 4700, wave=200, noise=45),
    _humidity("HIH4030", 60),
    _temperature("PR103J2", 17.5),
    _temperature("TMP112", 17.3),
    _light("TSL260RD", "intensity", 18000),
    _light("MLX75305", "intensity", 30000),
    _light("APDS9006", "intensity", 400),
    Signal("LPS25H", "pressure", "hPa", 996.4, 0.8, 0.4, 0.08, 1.2, 2, 260, 1260),
    _temperature("LPS25H", 19.0),
    _humidity("HIH6130", 55),
    _temperature("HIH6130", 24.0, wave=5.5),
    _temperature("TMP421", 26.0, wave=5.0),
    _humidity("SHT25", 58),
    _temperature("SHT25", 18.0),
    _temperature("AT0", 18.1),
    _temperature("AT1", 18.2),
    _temperature("AT2", 18.0),
    _temperature("AT3", 18.3),
    _light("ML8511", "intensity", 60),
    _light("SI1145", "visible_light_intensity", 360),
    _light("SI1145", "ir_intensity", 1800),
    _light("SI1145", "uv_intensity", 90),
    Signal("SPV1840", "intensity", "dB", 68.0, 5.0, 0.55, 1.2, 1.5, 2, 0, 130),
    _axis("HMC5883L", "magnetic_field_x", 210, unit="mG"),
    _axis("HMC5883L", "magnetic_field_y", -95, unit="mG"),
    _axis("HMC5883L", "magnetic_field_z", 430, unit="mG"),
    _axis("MMA8452Q", "acceleration_x", 12, unit="mg"),
    _axis("MMA8452Q", "acceleration_y", -8, unit="mg"),
    _axis("MMA8452Q", "acceleration_z", 1002, unit="mg"),
    _particles("pm1", 7),
    _particles("pm10", 19),
    _temperature("Wagman", 31.0, wave=3.0, parameter="battery"),
    _temperature("Wagman", 36.0, wave=3.0, parameter="brainplate"),
    _temperature("Wagman", 38.0, wave=3.0, parameter="powersupply"),
    Signal("Wagman", "current", "mA", 780, 20, 0.5, 9, 10, 0, 0, 9000),
    Signal("LoadAvg", "loadavg1", "1", 1.4, 0.2, 0.5, 0.12, 0.1, 2, 0, 900),
    Signal("LoadAvg", "loadavg5", "1", 1.4, 0.2, 0.5, 0.05, 0.1, 2, 0, 900),
)
"""The first two are those that the chapter looks at."""
