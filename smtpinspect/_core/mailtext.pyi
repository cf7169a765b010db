# Nothing of it is seen from Python: ext/smtpinspect/_core/mailtext.pxd tells what the core has of it.
