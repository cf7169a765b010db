/* A capture on standard output of connections that were opened and stay so: idle handshake|greeted|text COUNT.
   Checksums are left out, as by a host whose network card makes them. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADERS = 16 + 14 + 20 + 20, SYN = 2, PSH = 8, ACK = 16, MOST = 2048, START = 1741165200 };

static const struct step {
    int server, flags;
    const char *text;
} STEPS[] = {
    {0, SYN, ""},
    {1, SYN | ACK, ""},
    {0, ACK, ""},
    {1, PSH | ACK, "220 mx1.example.org ESMTP ready\r\n"}, /* greeted from here */
    {0, PSH | ACK, "EHLO mail.example.com\r\n"},
    {1, PSH | ACK, "250-mx1.example.org\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 CHUNKING\r\n"},
    {0, PSH | ACK, "MAIL FROM:<karen.keller@example.com>\r\n"}, /* text from here */
    {1, PSH | ACK, "250 2.1.0 Ok\r\n"},
    {0, PSH | ACK, "RCPT TO:<nils.peters@example.org>\r\n"},
    {1, PSH | ACK, "250 2.1.5 Ok\r\n"},
    {0, PSH | ACK, "DATA\r\n"},
    {1, PSH | ACK, "354 End data with <CR><LF>.<CR><LF>\r\n"},
    {0, PSH | ACK,
     "Message-ID: <1@example.com>\r\nFrom: Karen Keller <karen.keller@example.com>\r\nTo: nils.peters@example.org\r\n"
     "Subject: figures\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nDear Nils,\r\n"},
};

static void little(uint8_t *p, uint32_t n) { p[0] = n, p[1] = n >> 8, p[2] = n >> 16, p[3] = n >> 24; }
static void big(uint8_t *p, uint32_t n) { p[0] = n >> 24, p[1] = n >> 16, p[2] = n >> 8, p[3] = n; }
static void big16(uint8_t *p, uint32_t n) { p[0] = n >> 8, p[1] = n; }

/* One record; addresses and ports tell connections apart. */
static size_t record(uint8_t *p, uint64_t us, uint32_t number, const struct step *step, const uint32_t *next)
{
    static const uint8_t ETHERNET[] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
    uint32_t size = (uint32_t)strlen(step->text), client = 0xC6120000 + (number & 0x1FFFF), server = 0xC6336419;
    uint32_t port = 32768 + (number >> 17);
    uint8_t *ip = p + 16 + 14, *tcp = ip + 20;

    memset(p, 0, HEADERS);
    little(p, START + (uint32_t)(us / 1000000));
    little(p + 4, (uint32_t)(us % 1000000));
    little(p + 8, size + HEADERS - 16);
    little(p + 12, size + HEADERS - 16);
    memcpy(p + 16, ETHERNET, sizeof ETHERNET);
    ip[0] = 0x45, ip[6] = 0x40, ip[8] = 64, ip[9] = 6;
    big16(ip + 2, size + 40);
    big(ip + 12, step->server ? server : client);
    big(ip + 16, step->server ? client : server);
    big16(tcp, step->server ? 25 : port);
    big16(tcp + 2, step->server ? port : 25);
    big(tcp + 4, next[step->server]);
    big(tcp + 8, step->flags & ACK ? next[!step->server] : 0);
    tcp[12] = 0x50, tcp[13] = (uint8_t)step->flags;
    big16(tcp + 14, 64240);
    memcpy(p + HEADERS, step->text, size);
    return HEADERS + size;
}

int main(int count, char **arguments)
{
    static const uint8_t FILE_HEADER[24] = {0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, [18] = 4, [20] = 1};
    static char buffer[1 << 20];
    uint8_t octets[MOST];
    size_t steps = 0;

    if (count == 3)
        steps = !strcmp(arguments[1], "handshake") ? 3 : !strcmp(arguments[1], "greeted") ? 6
              : !strcmp(arguments[1], "text") ? sizeof STEPS / sizeof *STEPS : 0;
    if (!steps) {
        fprintf(stderr, "usage: idle handshake|greeted|text COUNT\n");
        return 2;
    }
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    fwrite(FILE_HEADER, sizeof FILE_HEADER, 1, stdout);
    uint64_t us = 0;
    for (uint32_t number = 0; number < strtoul(arguments[2], NULL, 10); number++) {
        uint32_t next[2] = {number * 2654435761u, number * 2246822519u}; /* sequence numbers: any will do */
        for (size_t at = 0; at < steps; at++) {
            const struct step *step = &STEPS[at];
            fwrite(octets, record(octets, us++, number, step, next), 1, stdout);
            next[step->server] += (uint32_t)strlen(step->text) + (step->flags & SYN ? 1 : 0);
        }
    }
    return fflush(stdout) ? 1 : 0;
}
