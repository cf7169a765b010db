"""The words that stay: those of SMTP, MIME and mail servers, by which rules and readers go. They name nobody.

None is a letter or a number: these stay in their places only.
"""

from __future__ import annotations

from typing import Final

from smtpinspect.grammar.verbs import VERBS

_PROTOCOL: Final = """
    helo ehlo lhlo mail rcpt data bdat last rset quit noop vrfy expn help turn etrn atrn send soml saml auth starttls
    verb onex xadr xcir xsta xtrn xgen xque xxxx xclient xforward burl xexch50 anonymoustls exps link2state body size
    from to for with by id via ret envid orcpt notify never success failure delay full hdrs smtputf8 8bitmime 7bit 8bit
    binarymime binary chunking pipelining dsn enhancedstatuscodes deliverby rrvs requiretls mt priority futurerelease
    limits rcptmax mailmax rcptdomainmax login plain cram md5 digest ntlm gssapi xoauth2 oauthbearer scram sha
    external anonymous esmtp esmtps esmtpsa esmtpa smtp lmtp utf8smtp utf8smtps ok end of crlf cr lf ready service
    syntax error unrecognized command unknown bad sequence not implemented queued as message accepted delivery
    sender recipient user mailbox unavailable denied rejected greylisted closing channel connection bye goodbye
    timeout try again later local mx relay access tls ssl cipher version bits verify no yes none and or the in on at
    bare domain address literal ipv6 ipv4 tcp ip proxy tcp4 tcp6
"""
_FIELDS: Final = """
    received return path reply cc bcc subject date message references sender delivered original envelope resent
    comments keywords importance priority precedence sensitivity organization user agent mailer list unsubscribe
    post archive owner subscribe help auto submitted response suppress thread topic index content type transfer
    encoding disposition description language location base duration mime dkim signature domainkey arc seal
    authentication results spf header msgid status spam score level flag report errors priority msmail originating
    mimeole disposition notification autosubmitted domainkeys feedback bounces original to delivery
"""
_MIME: Final = """
    multipart mixed alternative related signed encrypted parallel digest report rfc822 partial external global
    text plain html css csv calendar rtf xml enriched richtext json javascript application octet stream pdf zip gzip
    compressed msword ms excel powerpoint vnd openxmlformats officedocument wordprocessingml spreadsheetml
    presentationml document sheet presentation macroenabled template macro tnef pkcs7 mime signature pgp keys
    executable msdownload msdos program dosexec portable winexe image jpeg png gif bmp tiff svg audio mpeg wav video
    mp4 base64 quoted printable uuencode uuencoded uue yenc attachment inline filename name charset boundary format
    flowed delsp start info micalg protocol signed access url nextpart
    us ascii utf utf8 16le 16be 32le 32be iso windows cp koi8 gb2312 gbk gb18030 big5 shift jis euc jp kr tis
    macintosh latin1 begin end
"""
_DKIM: Final = "rsa ed25519 sha256 sha1 relaxed simple dns txt"
_FILES: Final = """
    exe com bat cmd scr pif msi vbs js jar zip rar 7z gz tgz tar bz2 xz doc docx docm dot dotm dotx xls xlsx xlsm xlsb
    xlt xltm ppt pptx pptm pps ppsm pot potm pdf txt htm html rtf csv jpg jpeg png gif bmp tif eml msg ics vcf dll sys
    cpl lnk hta iso img cab ace arj lzh swf wsf ps1 xml bin rels
    word xl vbaproject vbadata activex embeddings styles settings theme fonttable docprops core app custom workbook
    worksheets sheet1 sharedstrings slides slide1 types
"""
_OLE: Final = """
    root entry vba project dir macros module thisdocument thisworkbook worddocument 1table 0table workbook book
    powerpoint summaryinformation documentsummaryinformation compobj objectpool
"""
_EXECUTABLE: Final = """
    kernel32 dll loadlibrarya getprocaddress virtualprotect virtualalloc virtualfree exitprocess user32 advapi32
    msvcrt getmodulehandlea upx upx0 upx1 upx2 aspack adata rsrc rdata reloc idata edata text this program cannot be
    run in dos mode packed petite nsp0 nsp1 mpress1 mpress2 themida vmp0 vmp1
"""
_SERVERS: Final = """
    postfix exim sendmail opensmtpd qmail qmqp exchange microsoft esmtp server gnu debian ubuntu linux
    gmt utc est edt cet cest pst pdt
    tlsv1 tlsv1_2 tlsv1_3 tls1 ecdhe dhe rsa aes128 aes256 gcm sha384 chacha20 poly1305 envelope invoked uid network
"""

FILES: Final = frozenset(_FILES.split())  # extensions, and what the parts of an office document are called
# Header fields, by what stays in their values: of the first, types and parameters; of the second, what mail servers
# write; of the third, nothing.
TYPED: Final = frozenset((b"content-type", b"content-disposition", b"content-transfer-encoding"))
TRACED: Final = frozenset(
    b"""
    received date resent-date delivery-date mime-version dkim-signature x-dkim-signature x-google-dkim-signature
    domainkey-signature arc-seal arc-message-signature arc-authentication-results authentication-results received-spf
    auto-submitted precedence importance priority sensitivity x-priority x-msmail-priority
    """.split()
)
WRITTEN: Final = frozenset(
    b"""
    from sender reply-to to cc bcc subject message-id in-reply-to references comments keywords return-path
    resent-from resent-sender resent-to resent-cc resent-bcc resent-message-id delivered-to envelope-to original-to
    organization user-agent x-mailer content-id content-description content-location content-language content-base
    content-duration list-id list-unsubscribe list-post list-archive list-owner list-subscribe list-help thread-topic
    thread-index x-original-to disposition-notification-to errors-to feedback-id return-receipt-to
    """.split()
)

KEPT: Final = frozenset(
    word
    for listed in (_PROTOCOL, _FIELDS, _MIME, _DKIM, _FILES, _OLE, _EXECUTABLE, _SERVERS)
    for word in listed.split()
) | {verb.name.decode().lower() for verb in VERBS if verb.name}
