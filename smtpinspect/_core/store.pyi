# Nothing of it is seen from Python: ext/smtpinspect/_core/store.pxd tells what the core has of it.
