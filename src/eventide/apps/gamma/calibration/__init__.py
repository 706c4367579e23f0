"""Raw waveforms to images (`calibrate`): pedestal and gain, choice of gain, charge and peak time, broken pixels.

Steps and arithmetic are those of ctapipe 0.28 (``CameraCalibrator`` behind ``SimTelEventSource``, BSD 3-Clause), for
many events at once. `simtel` reads what it needs from files of sim_telarray.
"""
