# Nothing of it is seen from Python: ext/smtpinspect/_core/marks.pxd tells what the core has of it.
