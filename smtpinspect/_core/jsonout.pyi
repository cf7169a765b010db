class JsonOut: ...  # ext/smtpinspect/_core/jsonout.pxd tells what the core has of it
