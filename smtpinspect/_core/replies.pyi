# Nothing of it is seen from Python: ext/smtpinspect/_core/replies.pxd tells what the core has of it.
