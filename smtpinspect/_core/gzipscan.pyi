# Nothing of it is seen from Python: ext/smtpinspect/_core/gzipscan.pxd tells what the core has of it.
