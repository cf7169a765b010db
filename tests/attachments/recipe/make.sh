#!/bin/sh
# Makes all files anew, below the folder named (else in place). Needs Debian's zip, p7zip-full, gcc-mingw-w64-i686,
# gcc-mingw-w64-x86-64, libreoffice-{writer,calc,impress}, upx-ucl (bookworm-backports), and the Python packages
# XlsxWriter, olefile, msoffcrypto-tool, pyzipper.
set -e
here=$(cd "$(dirname "$0")" && pwd)
to=${1:-$here/..}
mkdir -p "$to/office"
[ -e "$to/office/vbaProject.bin" ] || cp "$here/../office/vbaProject.bin" "$to/office/"
sh "$here/programs.sh" "$to/program"
python3 "$here/office.py" "$to/office/vbaProject.bin" "$to/office"
python3 "$here/legacy.py" "$to/office" "$to/office"
python3 "$here/zips.py" "$to/program" "$to/office" "$to/archive"
