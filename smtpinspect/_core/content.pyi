# Nothing of it is seen from Python: ext/smtpinspect/_core/content.pxd tells what the core has of it.
