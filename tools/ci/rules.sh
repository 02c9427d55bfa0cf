#!/usr/bin/env bash
# The rules that the sources keep, checked without a build.
source "$(dirname "$(realpath "$0")")/lib.bash"

headers() { # COMPILER STANDARD...
    local compiler=$1 standard header
    shift
    for standard in "$@"; do
        for header in include/rapt/*.h; do
            echo "$compiler -std=$standard $header"
            # Alone, and twice.
            printf '#include <rapt/%s>\n' "${header##*/}" "${header##*/}" |
                "$compiler" -std="$standard" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude \
                    -x "$([[ $standard == *++* ]] && echo c++ || echo c)" -
        done
    done
}

scripts() {
    local file first
    while IFS= read -r file; do
        [[ -f $file ]] || continue
        IFS= read -r first <"$file" || true
        case $first in
        '#!'*bash*) bash -n "$file" ;;
        '#!'*/sh) sh -n "$file" ;;
        *) [[ $file != *.bash ]] || bash -n "$file" ;;
        esac
        [[ $file != *.py ]] || python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$file"
    done < <(git ls-files 2>/dev/null || find . -name build\* -prune -o -type f -print)
}

check "includes point one way" python3 tools/ci/check_includes.py || true
check "files stay small" python3 tools/ci/check_sizes.py || true
check "public headers stand alone: C" headers gcc c99 c11 c17 || true
check "public headers stand alone: C++" headers g++ c++11 c++20 || true
check "scripts parse" scripts || true
finish
