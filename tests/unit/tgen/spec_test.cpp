#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tgen/core/spec.hpp"

using namespace sluice;
using namespace sluice::tgen;

namespace {

Result<Spec> parse(std::vector<std::string> words) { return parse_spec(words); }

// The message must name all of these.
void check_error(std::vector<std::string> words, std::vector<std::string> parts) {
    const auto result = parse_spec(words);
    REQUIRE_FALSE(result);
    for (const std::string& part : parts) {
        CHECK_THAT(result.error().message, Catch::Matchers::Contains(part));
    }
}

}  // namespace

TEST_CASE("nothing said is a stream of 1500 bytes without limits") {
    const auto spec = parse({});
    REQUIRE(spec);
    CHECK(*spec == Spec{});
    CHECK(spec->mode() == Mode::stamped);
}

TEST_CASE("every word has its effect") {
    const auto a = parse({"size=64", "rate=1.5Mpps", "count=1k", "burst=8"});
    REQUIRE(a);
    CHECK(a->sizes == SizeRange::constant(64));
    CHECK(a->rate == Rate{Rate::Unit::packets, 1'500'000});
    CHECK(a->count == 1000);
    CHECK(a->burst == 8);
    const auto b = parse({"sweep=0:4000:250", "rate=10Gbps", "duration=1.5s", "bytes=2G"});
    REQUIRE(b);
    CHECK(b->sizes == SizeRange{0, 4000, 250});
    CHECK(b->rate == Rate{Rate::Unit::bits, 10'000'000'000});
    CHECK(b->duration == Duration::milliseconds(1500));
    CHECK(b->bytes == 2'000'000'000);
    const auto c = parse({"file=/tmp/a=b", "rate=max"});
    REQUIRE(c);
    CHECK(c->file == "/tmp/a=b");
    CHECK(c->mode() == Mode::raw);
    CHECK(c->rate.unlimited());
}

TEST_CASE("errors name the word and what was expected") {
    check_error({"size"}, {"size", "KEY=VALUE"});
    check_error({"colour=red"}, {"colour", "size=", "file="});
    check_error({"size=65001"}, {"65001", "65000"});
    check_error({"size=-1"}, {"-1", "0 to 65000"});
    check_error({"size=1", "size=2"}, {"size", "twice"});
    check_error({"size=1", "sweep=1:2:1"}, {"size", "sweep"});
    check_error({"sweep=1:2"}, {"1:2", "FROM:TO:STEP"});
    check_error({"sweep=1:2:3:4"}, {"FROM:TO:STEP"});
    check_error({"sweep=5"}, {"FROM:TO:STEP"});
    check_error({"sweep=9:2:1"}, {"9:2:1", "FROM must not exceed TO"});
    check_error({"sweep=1:2:0"}, {"step", "at least 1"});
    check_error({"sweep=1::3"}, {"sweep", "''"});
    check_error({"rate=10"}, {"rate", "10", "1Mpps"});
    check_error({"rate=0pps"}, {"0pps"});
    check_error({"rate=fastpps"}, {"fastpps"});
    check_error({"rate=11Tbps"}, {"11Tbps", "max"});
    check_error({"count=0"}, {"count", "from 1 on"});
    check_error({"count=1.5"}, {"1.5"});
    check_error({"duration=10"}, {"duration", "units"});
    check_error({"duration=0s"}, {"0s"});
    check_error({"duration=999999999h"}, {"duration"});
    check_error({"file="}, {"path"});
    check_error({"mode=fast"}, {"fast", "stamped or plain"});
    check_error({"mode=plain", "sweep=0:100:10"}, {"one size"});
    check_error({"mode=plain", "file=a"}, {"one size"});
    check_error({"file=x", "size=0"}, {"0 bytes", "file"});
    check_error({"burst=5"}, {"burst", "rate"});
    check_error({""}, {"KEY=VALUE"});
    check_error({"=5"}, {"not known"});
}

TEST_CASE("numbers are exact or refused") {
    CHECK(parse_number("0").value() == 0);
    CHECK(parse_number("64k").value() == 64'000);
    CHECK(parse_number("1.25M").value() == 1'250'000);
    CHECK(parse_number("0.000001M").value() == 1);
    CHECK(parse_number("18446744073709551615").value() == ~std::uint64_t{0});
    for (const char* bad : {"", ".", "1.", ".5", "1..2", "k", "1kk", " 1", "1 ", "+1", "0x10",
                            "18446744073709551616", "18446744073709551615k", "1.2345k",
                            "99999999999999999999999"}) {
        INFO(bad);
        CHECK_FALSE(parse_number(bad));
    }
}

TEST_CASE("durations and rates take their units") {
    CHECK(parse_duration("1ns")->ns == 1);
    CHECK(parse_duration("2.5us")->ns == 2500);
    CHECK(parse_duration("2min")->ns == 120'000'000'000);
    CHECK(parse_duration("1h")->ns == 3'600'000'000'000);
    CHECK_FALSE(parse_duration("1 s"));
    CHECK_FALSE(parse_duration("0.5ns"));
    CHECK(parse_rate("1pps")->per_second == 1);
    CHECK(parse_rate("10kbps")->per_second == 10'000);
    CHECK(parse_rate("10Tbps")->per_second == Pacer::kPerSecondMax);
}

TEST_CASE("settings take the burst in SDUs and give it in tokens") {
    const ClientSettings packets = settings_of(*parse({"rate=1Mpps", "burst=8"}));
    CHECK(packets.burst == 8);
    const ClientSettings bits = settings_of(*parse({"rate=1Gbps", "burst=8", "size=100"}));
    CHECK(bits.burst == 8 * 8 * 100);
    CHECK(settings_of(*parse({"file=x"})).mode == Mode::raw);
}

TEST_CASE("fields say unknown rather than zero") {
    const auto value = [](const std::vector<Field>& fields, std::string_view name) {
        for (const Field& f : fields) {
            if (f.name == name) return f.value;
        }
        FAIL("no field " << name);
        return fields.front().value;
    };
    Report r;
    r.sdus = 4;
    r.bytes = 1000;
    r.last_ns = 8000;
    const auto unknown = fields_of(r, Mode::stamped);
    CHECK(std::get<std::uint64_t>(value(unknown, "sdus")) == 4);
    CHECK(std::get<double>(value(unknown, "goodput_bps")) == Approx(1e9));
    CHECK(std::holds_alternative<std::monostate>(value(unknown, "latency_p99_ns")));
    r.latency_count = 1;
    r.latency_p99_ns = 5;
    r.checksum = 0xab;
    const auto known = fields_of(r, Mode::raw);
    CHECK(std::get<std::uint64_t>(value(known, "latency_p99_ns")) == 5);
    CHECK(std::get<std::string>(value(known, "xxh64")) == "00000000000000ab");

    ClientSession client(ClientSettings{});
    client.flow_closed();
    CHECK(std::get<std::string>(value(fields_of(client), "failure")) == "flow_closed");
    const ServerSession server(ClockId{});
    CHECK(std::get<std::string>(value(fields_of(server), "state")) == "waiting");
}
