"""Images, parameters and events in HDF5 as ctapipe has them (data model v7.1.0), written and read with h5py."""
