#include "pcap_writer/name_pattern.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>

using namespace sluice;
using Catch::Matchers::Contains;
using pcap::NamePattern;

namespace {

// 2026-01-31 23:59:59 UTC
constexpr std::int64_t kWall = 1769903999'000'000'000;

NamePattern pattern(const char* path, bool numbered = false, const char* port = "p0",
                    unsigned queue = 0) {
    ::setenv("TZ", "UTC0", 1);
    ::tzset();
    auto p = NamePattern::parse(path, port, queue, numbered);
    if (!p) FAIL(p.error().message);
    return *p;
}

std::string error_of(const char* path) {
    auto p = NamePattern::parse(path, "p0", 0, false);
    return p ? "" : p.error().message;
}

}  // namespace

TEST_CASE("names are made of times, counts, ports and queues") {
    CHECK(pattern("a.pcap").name(kWall, 1) == "a.pcap");
    CHECK(pattern("a.pcap", true).name(kWall, 1) == "a_00001_20260131235959.pcap");
    CHECK(pattern("/x/a", true).name(kWall, 123456) == "a_123456_20260131235959");
    CHECK(pattern("a.pcap.zst", true).name(kWall, 1) == "a_00001_20260131235959.pcap.zst");
    CHECK(pattern("%{port}-q%{queue}.pcap", true, "0000:00:04.0", 3).name(kWall, 2) ==
          "0000:00:04.0-q3_00002_20260131235959.pcap");
    CHECK(pattern("%F_%H%M%S.pcap").name(kWall + 999'999'999, 1) == "2026-01-31_235959.pcap");
    CHECK(pattern("100%%-%{count}.pcap").name(kWall, 7) == "100%-00007.pcap");
    CHECK(pattern("%H.pcap").name(kWall, 1, 2) == "23_02.pcap");
    CHECK(pattern("%s").name(kWall, 1) == "1769903999");
    CHECK(pattern("%F").name(-1, 1) == "1969-12-31");
    CHECK(pattern("%{port}", false, "../etc/x").name(kWall, 1) == ".._etc_x");
}

TEST_CASE("the folder of a pattern") {
    CHECK(pattern("a.pcap").folder().empty());
    CHECK(pattern("/var/%{port}/%{queue}%%/a", false, "a/b", 4).folder() == "/var/a_b/4%/");
    CHECK_THAT(error_of("/x/%Y/a.pcap"), Contains("the folder \"/x/%Y/\"") &&
                                             Contains("belong into the file's name"));
}

TEST_CASE("patterns that cannot be are refused") {
    CHECK_THAT(error_of(""), Contains("does not name a capture file"));
    CHECK_THAT(error_of("/x/"), Contains("does not name a capture file"));
    CHECK_THAT(error_of("a%{name}.pcap"), Contains("\"%{name}\"") && Contains("is not known"));
    CHECK_THAT(error_of("a%{name"), Contains("\"%{name\""));
    CHECK_THAT(error_of("a%c"), Contains("\"%c\""));
    CHECK_THAT(error_of("a%D"), Contains("\"%D\""));
    CHECK_THAT(error_of("a%"), Contains("\"%\""));
}

TEST_CASE("whatever a pattern names, it knows again") {
    for (const char* text :
         {"%Y%m%d%H%M%S", "x-%F-%T.pcap", "%a %b %e %j %p", "%s.%{count}", "%{count}%s",
          "%y%U%W%V%I%g%C%G%u%w%k%l", "%R%z%Z", "%A%B%h%P.pcap", "%{count}", "a.%{count}"}) {
        INFO(text);
        const NamePattern p = pattern(text);
        CHECK(p.varies());
        for (std::int64_t wall = kWall; wall < kWall + 400 * 86400'000'000'000;
             wall += 40'003'000'000'000) {
            const std::string name = p.name(wall, 42);
            INFO(name);
            CHECK(p.match(name));
            CHECK(!p.match(name + "."));
            CHECK(!p.match("." + name));
        }
        if (p.has_count()) continue;
        CHECK(p.match(p.name(kWall, 1, 2)));
        CHECK(p.match(p.name(kWall, 1, 12345)));
    }
}

TEST_CASE("names that only look alike are left alone") {
    const NamePattern p = pattern("a.pcap", true);
    CHECK(p.match("a_00012_20260131235959.pcap") == 12u);
    CHECK(p.match("a_123456_20260131235959.pcap") == 123456u);
    for (const char* name :
         {"a.pcap", "a_0012_20260131235959.pcap", "a_012345_20260131235959.pcap",
          "a_00012_2026013123595.pcap", "a_00012_202601312359590.pcap",
          "a_00012_20260131235959.pcapng", "ab_00012_20260131235959.pcap",
          "a_00012_20260131235959.pcap.sluice-part", "a_00012_20260131235959_02.pcap", ""})
        CHECK(!p.match(name));
    // Queue 10, file 12; not queue 1, file 12.
    CHECK(pattern("q%{queue}%{count}", false, "", 10).match("q1000012") == 12u);
    CHECK(!pattern("q%{queue}%{count}", false, "", 1).match("q1000012"));
}

TEST_CASE("patterns that make the same names overlap") {
    CHECK(pattern("a.pcap").overlaps(pattern("a.pcap")));
    CHECK(pattern("a.pcap", true).overlaps(pattern("a.pcap", true)));
    CHECK(pattern("%H.pcap").overlaps(pattern("%M.pcap")));
    CHECK(pattern("a%{count}").overlaps(pattern("a00001")));
    CHECK(pattern("a00001").overlaps(pattern("a%{count}")));
    CHECK(!pattern("a.pcap").overlaps(pattern("b.pcap")));
    CHECK(!pattern("x/a.pcap").overlaps(pattern("y/a.pcap")));
    CHECK(!pattern("%{queue}.pcap", true, "p0", 0).overlaps(
        pattern("%{queue}.pcap", true, "p0", 1)));
}
