# Nothing of it is seen from Python: ext/smtpinspect/_core/reader.pxd tells what the core has of it.
