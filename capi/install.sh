#!/usr/bin/env bash
# Builds the C library and installs it: capi/install.sh PREFIX, for instance /usr/local or ~/.local.
#
#   PREFIX/include/unrolled.h, unrolled.hpp
#   PREFIX/lib/libunrolled_c.so and .a (macOS: .dylib)
#   PREFIX/lib/pkgconfig/unrolled.pc, unrolled-static.pc
#   PREFIX/lib/cmake/unrolled/
set -euo pipefail

if [[ $# -ne 1 || $1 == -* ]]; then
  echo "usage: $0 PREFIX" >&2
  exit 2
fi
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
cd "$(dirname "$0")"
cargo=${CARGO:-cargo}

# rustc tells what a program needs that links the static library.
if ! notes=$("$cargo" rustc --release -p unrolled-capi --lib --color never -- --print native-static-libs 2>&1); then
  echo "$notes" >&2
  exit 1
fi
needed=$(sed -n 's/^note: native-static-libs: //p' <<<"$notes" | tail -1)
version=$("$cargo" pkgid -p unrolled-capi | sed 's/.*[#@]//')
series=${version%.*}
target=${CARGO_TARGET_DIR:-../target}
built=$target${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}/release

case $(uname -s) in
  Darwin) file=libunrolled_c.dylib shared=libunrolled_c.$series.dylib strip=(strip -S) ;;
  *) file=libunrolled_c.so shared=libunrolled_c.so.$series strip=(strip --strip-debug) ;;
esac

install -d "$prefix"/include "$prefix"/lib/pkgconfig "$prefix"/lib/cmake/unrolled
install -m 644 include/unrolled.h include/unrolled.hpp "$prefix"/include
install -m 755 "$built/$file" "$prefix/lib/$shared"
install -m 644 "$built/libunrolled_c.a" "$prefix/lib/libunrolled_c.a"
if command -v strip >/dev/null; then
  "${strip[@]}" "$prefix/lib/$shared" "$prefix/lib/libunrolled_c.a"
fi
ln -sf "$shared" "$prefix/lib/$file"

fill() {
  sed -e "s|@VERSION@|$version|" -e "s|@SERIES@|$series|" -e "s|@SHARED@|$shared|" -e "s|@NEEDED@|$needed|" \
    "package/$1" > "$prefix/lib/$2/$1"
}
fill unrolled.pc pkgconfig
fill unrolled-static.pc pkgconfig
fill unrolledConfig.cmake cmake/unrolled
fill unrolledConfigVersion.cmake cmake/unrolled
echo "unrolled $version is installed in $prefix"
