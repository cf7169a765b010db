# Nothing of it is seen from Python: ext/smtpinspect/_core/worker.pxd tells what the core has of it.
