#!/bin/sh
# sh programs.sh OUT: needs mingw-w64 (Debian: gcc-mingw-w64-i686, gcc-mingw-w64-x86-64) and upx (bookworm-backports: upx-ucl).
set -e
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
for bits in 32 64; do
    [ $bits = 32 ] && cpu=i686 || cpu=x86_64
    cc="$cpu-w64-mingw32-gcc -Os -s -Wl,--no-insert-timestamp"
    $cc -o "$out/hello$bits.exe" "$here/hello.c"
    # the library without the C library, to be small
    $cc -shared -nostdlib -DSMALL -o "$out/hello$bits.dll" "$here/hello.c" -lkernel32
    for file in "hello$bits.exe" "hello$bits.dll"; do
        rm -f "$out/upx-$file"
        upx -q -o "$out/upx-$file" "$out/$file" > /dev/null
    done
done
rm -f "$out/upx-best-hello32.exe" "$out/upx-lzma-hello64.exe"
upx -q --best -o "$out/upx-best-hello32.exe" "$out/hello32.exe" > /dev/null
upx -q --lzma -o "$out/upx-lzma-hello64.exe" "$out/hello64.exe" > /dev/null
python3 "$here/headers.py" "$out"
