# Nothing of it is seen from Python: ext/smtpinspect/_core/bodies.pxd tells what the core has of it.
