# Nothing of it is seen from Python: ext/smtpinspect/_core/connections.pxd tells what the core has of it.
