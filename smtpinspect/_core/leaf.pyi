# Nothing of it is seen from Python: ext/smtpinspect/_core/leaf.pxd tells what the core has of it.
