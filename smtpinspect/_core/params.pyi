# Nothing of it is seen from Python: ext/smtpinspect/_core/params.pxd tells what the core has of it.
