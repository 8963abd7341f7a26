#include <array>
#include <catch2/catch.hpp>

#include "harness.hpp"
#include "stages/params.hpp"

using namespace sluice;
using namespace sluice::stages;

namespace {

constexpr std::array<ParamDesc, 6> kTable = {{
    {"n", ParamType::number, "5", "a number", 2, 3000},
    {"yes", ParamType::flag, "no", "a flag"},
    {"rate", ParamType::rate, "max", "a rate"},
    {"mac", ParamType::mac, "02:00:00:00:00:0a", "an address"},
    {"file", ParamType::path, "", "what to read"},
    {"pace", ParamType::choice, "max", "how", 0, 0, "max|original"},
}};

Result<Values> with(dp::Params params) {
    params.emplace("file", "x");
    return resolve(node("kind", std::move(params), "a.toml:3"), kTable);
}

void check_error(const std::string& key, const std::string& value, const std::string& part) {
    const auto v = with({{key, value}});
    INFO(key << "=" << value);
    REQUIRE_FALSE(v);
    CHECK_THAT(v.error().message, Catch::StartsWith("a.toml:3: stage n (kind): "));
    CHECK_THAT(v.error().message, Catch::Contains(part));
}

}  // namespace

TEST_CASE("defaults fill what is not said") {
    const auto v = with({});
    REQUIRE(v);
    CHECK(v->number("n") == 5);
    CHECK_FALSE(v->flag("yes"));
    CHECK(v->rate("rate").per_second == 0);
    CHECK(v->mac("mac") == 0x02000000000aull);
    CHECK(v->text("pace") == "max");
    CHECK(v->text("file") == "x");
}

TEST_CASE("values are read as they are written") {
    const auto v = with({{"n", "1.5k"}, {"yes", "on"}, {"rate", "2.5Gbps"},
                         {"mac", "fE:dc:ba:98:76:54"}, {"pace", "original"}});
    REQUIRE(v);
    CHECK(v->number("n") == 1500);
    CHECK(v->flag("yes"));
    CHECK(v->rate("rate").unit == RateValue::Unit::bits);
    CHECK(v->rate("rate").per_second == 2'500'000'000);
    CHECK(v->mac("mac") == 0xfedcba987654ull);
    CHECK(v->text("pace") == "original");
}

TEST_CASE("wrong values say what was expected") {
    for (const char* bad : {"", "x", "1", "3001", "4k", "-5", "5 ", "1.", ".5", "2.0001", "0x10",
                            "99999999999999999999999999999999999999999999", "k"}) {
        check_error("n", bad, "from 2 to 3000");
    }
    check_error("yes", "maybe", "yes nor no");
    for (const char* bad : {"", "5", "pps", "0pps", "11Tbps", "1.5pps", "fast"}) {
        check_error("rate", bad, "1.5Mpps, 10Gbps");
    }
    for (const char* bad : {"", "02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:0g",
                            "02:00:00:00:00:001", "0200:00:00:00:0001"}) {
        check_error("mac", bad, "02:00:00:00:00:01");
    }
    check_error("pace", "slow", "max|original");
    check_error("colour", "red", "expected n, yes, rate, mac, file or pace");
    const auto empty = resolve(node("kind", {{"file", ""}}), kTable);
    REQUIRE_FALSE(empty);
    CHECK_THAT(empty.error().message,
               Catch::Equals("stage n (kind): file is empty, expected a path"));
    const auto missing = resolve(node("kind"), kTable);
    REQUIRE_FALSE(missing);
    CHECK_THAT(missing.error().message, Catch::Contains("file is missing: what to read"));
    const auto none = resolve(node("kind", {{"a", "b"}}), {});
    REQUIRE_FALSE(none);
    CHECK_THAT(none.error().message, Catch::Contains("it has no parameters"));
}
