/* A program with enough text for a packer: built as program and, without the C library, as library. */
#include <windows.h>

static const char text[8192] = "Hello. This table is here so that a packer finds something to press.";

__declspec(dllexport) int hello(int n) { return text[n & 8191] + (int)GetTickCount(); }

#ifdef SMALL
BOOL WINAPI DllMainCRTStartup(HINSTANCE self, DWORD why, LPVOID more)
{
    (void)self, (void)why, (void)more;
    return TRUE;
}
#else
#include <stdio.h>

int main(int argc, char **argv)
{
    printf("%s %d %p\n", text, hello(argc), (void *)argv);
    return 0;
}
#endif
