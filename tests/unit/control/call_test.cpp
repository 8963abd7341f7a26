#include <catch2/catch.hpp>

#include "control/command.hpp"
#include "sample_table.hpp"

using namespace sluice;
using namespace sluice::control;

namespace {

struct Fixture {
    CommandTable table;
    Fixture() { sample::fill(table); }

    std::string answer(const char* method, const char* params) {
        auto value = table.call(method, Value::parse(params));
        return value ? value->dump()
                     : std::to_string(value.error().rpc_code) + " " + value.error().message;
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "methods are the literal words joined by dots") {
    CHECK(answer("show.port.stats", R"({"port":"all"})") ==
          R"({"words":["show","port","stats","all"]})");
    CHECK(answer("show.port.info", R"({"port":"p0"})") ==
          R"({"words":["show","port","info","p0"],"PORT":"p0"})");
    CHECK(answer("show.drops", "null") == R"({"words":["show","drops"]})");
    CHECK(answer("show.drops", "{}") == R"({"words":["show","drops"]})");
    CHECK(answer("start.capture", R"({"port":"p0","size":"2K","promisc":true,"file":null})") ==
          R"({"words":["start","capture","p0"],"PORT":"p0","bytes":2048,"promisc":true})");
    CHECK(answer("start.capture", R"({"port":"p0","size":4096,"promisc":false})") ==
          R"({"words":["start","capture","p0"],"PORT":"p0","bytes":4096,"promisc":false})");
    CHECK(answer("add.port", R"({"name":"x","kind":"tap","n":4})") ==
          R"({"words":["add","port","x"],"NAME":"x","tap":true,"queues":4})");
    CHECK(answer("set.link.rate.delay", R"({"name":"w","rate":1000,"time":"1ms","p":0.5})") ==
          R"({"words":["set","link","w","rate","1000","delay","1ms"],"NAME":"w","rate":1000,)"
          R"("delay_ns":1000000,"loss":0.5})");
}

TEST_CASE_METHOD(Fixture, "calls that do not fit say what is expected") {
    CHECK(answer("show.prot", "{}") ==
          "-32601 there is no method 'show.prot'; 'commands' lists them all");
    CHECK(table.call("show.prot", Value()).error().expected ==
          std::vector<std::string>{"show.port.info", "show.port.stats", "show.drops",
                                   "show.lcores"});
    CHECK(answer("sh.po.st", R"({"port":"all"})").starts_with("-32601"));
    CHECK(answer("", "{}").starts_with("-32601"));
    CHECK(answer("show.drops.", "{}").starts_with("-32601"));
    CHECK(answer("show.port.stats", "{}") ==
          "-32602 param 'port' is missing; expected: all or PORT");
    CHECK(answer("show.port.stats", R"({"prot":"p0"})") ==
          "-32602 unknown param 'prot'; expected: port");
    CHECK(answer("show.drops", R"({"x":1})") == "-32602 unknown param 'x'; expected: no params");
    CHECK(answer("show.port.stats", R"({"port":["p0"]})") ==
          "-32602 param 'port' must be a string or a number");
    CHECK(answer("show.port.stats", R"(["p0"])") ==
          "-32602 params must be an object; expected: port");
    CHECK(answer("start.capture", R"({"port":"p0","size":"big"})") ==
          "-32602 param 'size' cannot be 'big'; expected: SIZE (like 1500, 2K, 1M)");
    CHECK(answer("start.capture", R"({"port":"p0","size":-1})") ==
          "-32602 param 'size' cannot be '-1'; expected: SIZE (like 1500, 2K, 1M)");
    CHECK(answer("start.capture", R"({"port":"p0","promisc":"yes"})") ==
          "-32602 param 'promisc' must be true or false");
    CHECK(answer("add.port", R"({"name":"x","kind":"tun"})") ==
          "-32602 param 'kind' cannot be 'tun'; expected: vhost or tap");
}

TEST_CASE_METHOD(Fixture, "a failed handler gives its errno") {
    const auto failed = table.call("fail", Value::parse(R"({"what":"x"})"));
    CHECK(failed.error().rpc_code == -32000);
    CHECK(failed.error().data().dump() == R"({"errno":19})");
    const auto invalid = table.call("add.port", Value::parse(R"({"name":"x","kind":"tun"})"));
    CHECK(invalid.error().data().dump() == R"({"expected":["vhost","tap"]})");
    CHECK(table.call("stop", Value(), Access::read).error().rpc_code == CommandError::kRefused);
}

TEST_CASE_METHOD(Fixture, "the table describes itself") {
    const Value all = table.describe();
    REQUIRE(all.size() == 12);
    CHECK(all[1].dump() ==
          R"x({"command":"show port info|stats (all|PORT)","access":"read",)x"
          R"x("help":"Shows ports.",)x"
          R"("methods":["show.port.info","show.port.stats"],)"
          R"("params":[{"name":"port","type":"str, or all","required":true}]})");
}
