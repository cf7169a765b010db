# Nothing of it is seen from Python: ext/smtpinspect/_core/inflate.pxd tells what the core has of it.
