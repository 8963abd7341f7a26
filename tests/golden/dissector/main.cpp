// The C++ side of the tests of scripts/wireshark: what our decoders say about captures, and
// captures of what our encoders write.
//
// usage: golden_dissector list FILE | golden_dissector write FOLDER

#include <fmt/format.h>

#include <cstdio>
#include <string_view>

#include "frames.hpp"
#include "lines.hpp"

using namespace sluice;

int main(int argc, char** argv) {
    const std::string_view command = argc == 3 ? argv[1] : "";
    if (command == "write") {
        if (const auto result = test::write_frames(argv[2]); !result) {
            fmt::print(stderr, "{}\n", result.error().message);
            return 1;
        }
        return 0;
    }
    if (command != "list") {
        fmt::print(stderr, "usage: golden_dissector list FILE | write FOLDER\n");
        return 2;
    }
    const auto lines = test::lines_of(argv[2]);
    if (!lines) {
        fmt::print(stderr, "{}\n", lines.error().message);
        return 1;
    }
    std::fputs(lines->c_str(), stdout);
    return 0;
}
