#include "control/config.hpp"

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>

using namespace sluice;
using namespace sluice::control;

namespace {

ConfigFile parsed(std::string_view text) {
    auto file = ConfigFile::parse(text, "v.toml");
    REQUIRE(file);
    return std::move(*file);
}

std::string finish(ConfigFile& file) {
    auto finished = file.finish();
    return finished ? "" : finished.error().message;
}

}  // namespace

TEST_CASE("a whole file decodes") {
    ConfigFile file = parsed(R"(# a role
name = "a"
loss = "1%"
limits = [1, 2, 3]

[runtime]
idle = "busy"
pool = "2K"
rate = "2.5G"
poll = "5ms"
trace = true
gain = 3

[[port]]
name = "p0"
lcore = 3

[[port]]
name = "p1"
peers = ["x", "y"]
)");
    ConfigTable root = file.root();
    CHECK(root.string("name").required() == "a");
    CHECK(root.share("loss").required() == 0.01);
    CHECK(root.uints("limits", 1, 3).required() == std::vector<std::uint64_t>{1, 2, 3});
    CHECK(root.string("absent").optional("d") == "d");
    CHECK_FALSE(root.uint("none").maybe());
    ConfigTable runtime = root.table("runtime");
    CHECK(runtime.present());
    CHECK(runtime.choice("idle", {"busy", "adaptive"}).required() == "busy");
    CHECK(runtime.size("pool").required() == 2048);
    CHECK(runtime.rate("rate").required() == 2500000000);
    CHECK(runtime.duration("poll").required() == Duration::milliseconds(5));
    CHECK(runtime.boolean("trace").required());
    CHECK(runtime.real("gain", 0, 10).required() == 3.0);
    auto ports = root.tables("port");
    REQUIRE(ports.size() == 2);
    CHECK(ports[0].string("name").required() == "p0");
    CHECK(ports[0].uint("lcore", 0, 127).optional(0) == 3);
    CHECK(ports[1].string("name").required() == "p1");
    CHECK(ports[1].uint("lcore", 0, 127).optional(9) == 9);
    CHECK(ports[1].strings("peers").required() == std::vector<std::string>{"x", "y"});
    CHECK(ports[1].where("name") == "v.toml:19");
    CHECK(ports[1].where("lcore") == "v.toml:18");
    CHECK(ports[1].where() == "v.toml:18");
    CHECK(ports[1].label() == "[[port]]");
    CHECK(root.line_of("limits") == 4);
    CHECK_FALSE(root.table("other").present());
    CHECK(finish(file).empty());
}

TEST_CASE("all errors are told, in the order of the file, each with its line") {
    ConfigFile file = parsed(R"(nmae = "x"
[runtime]
idle = "bsy"
lcore = "one"
pool = 200
poll = 5
[[port]]
prot = 1
[[port]]
name = 7
lcore = 128
kind = "vhost"
[zoo]
a = 1
)");
    ConfigTable root = file.root();
    CHECK(root.string("name").required().empty());
    ConfigTable runtime = root.table("runtime");
    CHECK(runtime.choice("idle", {"busy", "adaptive"}).optional("busy") == "busy");
    CHECK(runtime.uint("lcore", 0, 127).required() == 0);
    runtime.size("pool", 1024).optional(1024);
    runtime.duration("poll").optional({});
    for (ConfigTable port : root.tables("port")) {
        static_cast<void>(port.string("name").required());
        static_cast<void>(port.uint("lcore", 0, 127).maybe());
        static_cast<void>(port.string("kind").optional("x"));
        if (port.has("kind")) port.error("kind", "lcore 128 is not there");
    }
    CHECK(finish(file) ==
          "v.toml:1: key 'name' is missing at the top level\n"
          "v.toml:1: key 'nmae' is unknown at the top level; expected one of name, runtime, port "
          "(did you mean 'name'?)\n"
          "v.toml:3: 'idle' must be one of busy, adaptive, found the string \"bsy\"\n"
          "v.toml:4: 'lcore' must be an integer between 0 and 127, found the string \"one\"\n"
          "v.toml:5: 'pool' must be a size like 2048 or \"2K\" of at least 1024, found the integer "
          "200\n"
          "v.toml:6: 'poll' must be a duration like \"5ms\", found the integer 5\n"
          "v.toml:7: key 'name' is missing in [[port]]\n"
          "v.toml:8: key 'prot' is unknown in [[port]]; expected one of name, lcore, kind\n"
          "v.toml:10: 'name' must be a string, found the integer 7\n"
          "v.toml:11: 'lcore' must be an integer between 0 and 127, found the integer 128\n"
          "v.toml:12: lcore 128 is not there\n"
          "v.toml:13: key 'zoo' is unknown at the top level; expected one of name, runtime, port");
    CHECK(file.errors().size() == 12);
    // Asking twice does not tell twice.
    CHECK_FALSE(file.finish());
    CHECK(file.errors().size() == 12);
}

TEST_CASE("unknown keys in nested tables") {
    ConfigFile file = parsed(R"(
[a.b]
x = 1
port = 2
[[a.list]]
  [a.list.inner]
  y = 2
[empty]
z = 1
[skipped]
z = 1
)");
    ConfigTable a = file.root().table("a");
    a.table("b").uint("prot").maybe();
    for (ConfigTable item : a.tables("list")) item.table("inner");
    file.root().table("empty");
    file.root().table("skipped").ignore_rest();
    CHECK(finish(file) ==
          "v.toml:3: key 'x' is unknown in [a.b]; expected one of prot\n"
          "v.toml:4: key 'port' is unknown in [a.b]; expected one of prot (did you mean 'prot'?)\n"
          "v.toml:7: key 'y' is unknown in [a.list.inner]; nothing is expected there\n"
          "v.toml:9: key 'z' is unknown in [empty]; nothing is expected there");
}

TEST_CASE("tables and lists of tables are told apart") {
    ConfigFile file = parsed("runtime = 5\n[port]\nname = 'x'\n[[dif]]\nn = 1\n");
    CHECK_FALSE(file.root().table("runtime").present());
    CHECK(file.root().tables("port").empty());
    CHECK_FALSE(file.root().table("dif").present());
    CHECK(finish(file) ==
          "v.toml:1: 'runtime' must be a table, written [runtime], found the integer 5\n"
          "v.toml:2: 'port' must be a list of tables, written [[port]], found a table\n"
          "v.toml:4: 'dif' must be a table, written [dif], found an array");
}

TEST_CASE("required keys of an absent table") {
    ConfigFile file = parsed("a = 1\n");
    CHECK(file.root().uint("a").required() == 1);
    CHECK(file.root().table("runtime").string("idle").required().empty());
    CHECK(finish(file) == "v.toml:1: key 'idle' is missing in [runtime]");
}

TEST_CASE("wrong kinds of every sort") {
    ConfigFile file = parsed("a=-1\nb=1.5\nc=2020-01-01\nd=[1]\ne={x=1}\nf='yes'\ng=[1,'x']\n"
                             "h='150%'\ni='10Mbps'\nj=nan\nk=-7\n");
    ConfigTable root = file.root();
    root.uint("a").maybe();
    root.uint("b", 1).maybe();
    root.string("c").maybe();
    root.string("d").maybe();
    root.string("e").maybe();
    root.boolean("f").maybe();
    root.strings("g").maybe();
    root.share("h").maybe();
    root.rate("i").maybe();
    root.real("j", 0, 1).maybe();
    root.integer("k", -5, 5).maybe();
    CHECK(finish(file) ==
          "v.toml:1: 'a' must be an integer of at least 0, found the integer -1\n"
          "v.toml:2: 'b' must be an integer of at least 1, found the number 1.5\n"
          "v.toml:3: 'c' must be a string, found a date or time\n"
          "v.toml:4: 'd' must be a string, found an array\n"
          "v.toml:5: 'e' must be a string, found a table\n"
          "v.toml:6: 'f' must be true or false, found the string \"yes\"\n"
          "v.toml:7: 'g' must be a list of strings, found an array\n"
          "v.toml:8: 'h' must be a number between 0 and 1, or a string like \"1%\", found the "
          "string \"150%\"\n"
          "v.toml:9: 'i' must be a rate like 10000000 or \"10M\", found the string \"10Mbps\"\n"
          "v.toml:10: 'j' must be a number between 0 and 1, found the number nan\n"
          "v.toml:11: 'k' must be an integer between -5 and 5, found the integer -7");
}

TEST_CASE("broken TOML says where") {
    const auto message = [](std::string_view text) {
        auto file = ConfigFile::parse(text, "v.toml");
        return file ? std::string("no error") : file.error().message;
    };
    CHECK(message("a = 1\nb = \n").starts_with("v.toml:2: "));
    CHECK(message("a = 1\na = 2\n").starts_with("v.toml:2: "));
    CHECK(message("[x\n").starts_with("v.toml:1: "));
    CHECK(message("a = \"\xff\"\n").starts_with("v.toml:1: "));
    for (const char* text : {"b = \n", "[x\n", "a = \"\xff\"", "=", "a = 1 b = 2"})
        CHECK(message(text).find('\n') == std::string::npos);
    CHECK(message(std::string(5000, '[')).find("v.toml:1: ") == 0);
}

TEST_CASE("files that cannot be read are one line") {
    char folder[] = "/tmp/sluice-config-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    const std::string path = std::string(folder) + "/x.toml";
    CHECK(ConfigFile::load(path).error().message ==
          "cannot read config file " + path + ": No such file or directory");
    CHECK(ConfigFile::load(folder).error().message ==
          std::string("config file ") + folder + " is a directory");
    std::ofstream(path) << "a = 1\n";
    auto file = ConfigFile::load(path);
    REQUIRE(file);
    CHECK(file->path() == path);
    CHECK(file->root().where("a") == path + ":1");
    std::remove(path.c_str());
    std::remove(folder);
}
