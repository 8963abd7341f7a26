#include "control/command.hpp"

#include <catch2/catch.hpp>

#include "sample_table.hpp"

using namespace sluice;
using namespace sluice::control;

namespace {

struct Fixture {
    CommandTable table;
    Fixture() { sample::fill(table); }

    std::string answer(const char* line) {
        auto value = table.run(line);
        return value ? value->dump() : "error: " + value.error().message;
    }
    std::string error(const char* line) {
        auto value = table.run(line);
        return value ? "no error: " + value->dump() : value.error().message;
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "words become arguments") {
    CHECK(answer("show port stats all") == R"({"words":["show","port","stats","all"]})");
    CHECK(answer("show port info p0") == R"({"words":["show","port","info","p0"],"PORT":"p0"})");
    CHECK(answer("  show\tdrops  ") == R"({"words":["show","drops"]})");
    CHECK(answer("show drops # why") == R"({"words":["show","drops"]})");
    CHECK(answer("") == "null");
    CHECK(answer("  # nothing") == "null");
}

TEST_CASE_METHOD(Fixture, "quotes join words and make variables of literals") {
    CHECK(answer(R"(show port info "my port")") ==
          R"({"words":["show","port","info","my port"],"PORT":"my port"})");
    CHECK(answer(R"(show port info "all")") ==
          R"({"words":["show","port","info","all"],"PORT":"all"})");
    CHECK(answer(R"(show port info "a\"b\\")") ==
          R"({"words":["show","port","info","a\"b\\"],"PORT":"a\"b\\"})");
    CHECK(answer(R"(show port info "#1")") ==
          R"({"words":["show","port","info","#1"],"PORT":"#1"})");
}

TEST_CASE_METHOD(Fixture, "unique prefixes do, exact words win") {
    CHECK(answer("sh po st all") == R"({"words":["show","port","stats","all"]})");
    CHECK(answer("sh d") == R"({"words":["show","drops"]})");
    CHECK(answer("start") == R"({"words":["start"]})");
    // A prefix of a literal never wins over a variable: "a" may be a port, "all" is all of them.
    CHECK(answer("show port stats a") == R"({"words":["show","port","stats","a"],"PORT":"a"})");
}

TEST_CASE_METHOD(Fixture, "optional groups come in any order") {
    const std::string both =
        R"({"words":["start","capture","p0"],"PORT":"p0","FILE":"x.pcap",)"
        R"("bytes":2048,"promisc":true})";
    CHECK(answer("start capture p0 file x.pcap size 2K promisc") == both);
    CHECK(answer("start capture p0 promisc size 2K file x.pcap") == both);
    CHECK(answer("start capture p0 si 2K") ==
          R"({"words":["start","capture","p0"],"PORT":"p0","bytes":2048,"promisc":false})");
    CHECK(answer("add port x kind tap queues 4") ==
          R"({"words":["add","port","x"],"NAME":"x","tap":true,"queues":4})");
    CHECK(error("start capture p0 promisc promisc") ==
          "start capture p0 promisc promisc\n"
          "                         ^~~~~~~\n"
          "'promisc' does not fit here; expected: file, size or the end of the line");
}

TEST_CASE_METHOD(Fixture, "typed variables arrive as numbers") {
    CHECK(answer("set link wan rate 2.5M delay 5ms loss 1%") ==
          R"({"words":["set","link","wan","rate","2.5M","delay","5ms"],"NAME":"wan",)"
          R"("rate":2500000,"delay_ns":5000000,"loss":0.01})");
    CHECK(error("set link wan rate fast delay 5ms") ==
          "set link wan rate fast delay 5ms\n"
          "                  ^~~~\n"
          "'fast' does not fit here; expected: RATE (like 800, 10M, 2.5G)");
}

TEST_CASE_METHOD(Fixture, "the rest of a line is one variable") {
    CHECK(answer("set filter p0 udp  port 80 ") ==
          R"({"words":["set","filter","p0","udp  port 80"],)"
          R"("PORT":"p0","EXPRESSION":"udp  port 80"})");
    CHECK(answer(R"(set filter p0 "udp port 80")") ==
          R"({"words":["set","filter","p0","udp port 80"],)"
          R"("PORT":"p0","EXPRESSION":"udp port 80"})");
    CHECK(answer("set filter p0 udp # web") ==
          R"({"words":["set","filter","p0","udp"],"PORT":"p0","EXPRESSION":"udp"})");
}

TEST_CASE_METHOD(Fixture, "the noun may come first") {
    CHECK(answer("port show stats all") == R"({"words":["show","port","stats","all"]})");
    CHECK(answer("po sh in p0") == R"({"words":["show","port","info","p0"],"PORT":"p0"})");
    CHECK(answer("drops show") == R"({"words":["show","drops"]})");
    CHECK(error("port shwo stats") ==
          "port shwo stats\n"
          "     ^~~~\n"
          "'shwo' does not fit here; expected: show or add");
    CHECK(error("port show sttas") ==
          "port show sttas\n"
          "          ^~~~~\n"
          "'sttas' does not fit here; expected: info or stats");
}

TEST_CASE_METHOD(Fixture, "errors point at the word") {
    CHECK(error("show prot stats all") ==
          "show prot stats all\n"
          "     ^~~~\n"
          "'prot' does not fit here; expected: port, drops or lcores");
    CHECK(error("st") ==
          "st\n"
          "^~\n"
          "'st' is ambiguous; expected: start or stop");
    CHECK(error("show port stats") ==
          "show port stats\n"
          "                ^\n"
          "the line is not complete; expected: all or PORT (p0, p1, my port)");
    CHECK(error("show drops now") ==
          "show drops now\n"
          "           ^~~\n"
          "'now' is one word too many; expected: the end of the line");
    CHECK(error("\tshow \"prot") ==
          "\tshow \"prot\n"
          "\t     ^~~~~\n"
          "the quoted word has no end; expected: a closing \"");
    const auto failed = table.run("show prot");
    CHECK(failed.error().column == 5);
    CHECK(failed.error().rpc_code == CommandError::kInvalidParams);
    CHECK(failed.error().expected == std::vector<std::string>{"port", "drops", "lcores"});
    CHECK(table.run("foo").error().rpc_code == CommandError::kMethodNotFound);
}

TEST_CASE_METHOD(Fixture, "carets count characters, hide control characters, survive long lines") {
    CHECK(error("show \xc3\xa4\xc3\xb6 x") ==
          "show \xc3\xa4\xc3\xb6 x\n"
          "     ^~\n"
          "'\xc3\xa4\xc3\xb6' does not fit here; expected: port, drops or lcores");
    CHECK(error("show \x1b[2J") ==
          "show ?[2J\n"
          "     ^~~~\n"
          "'?[2J' does not fit here; expected: port, drops or lcores");
    const std::string line = "show drops" + std::string(500, ' ') + "x" + std::string(500, ' ');
    const std::string text = error(line.c_str());
    const std::size_t first = text.find('\n');
    CHECK(first < 140);
    CHECK(text.find('x') == text.find('^', first) - first - 1);
    CHECK(error(std::string(70000, 'x').c_str()) ==
          "the line has 70000 bytes; at most 65536 are possible");
}

TEST_CASE_METHOD(Fixture, "a handler's error is exactly one harmless line") {
    const auto failed = table.run("fail x");
    REQUIRE_FALSE(failed);
    CHECK(failed.error().message == "no port 'x'; really?[2J");
    CHECK(failed.error().code == ENODEV);
    CHECK(failed.error().rpc_code == CommandError::kFailed);
    CHECK(error("throw") == "internal error in 'throw': oops");
    CHECK(table.execute("fail y").error().code == ENODEV);
}

TEST_CASE_METHOD(Fixture, "readers may not write") {
    CHECK(table.run("show drops", Access::read));
    const auto refused = table.run("stop", Access::read);
    CHECK(refused.error().rpc_code == CommandError::kRefused);
    CHECK(refused.error().message == "'stop' is refused: this client may only read");
}

TEST_CASE_METHOD(Fixture, "help lists and explains") {
    const auto all = table.run("help");
    REQUIRE(all);
    CHECK(all->size() == 12);
    CHECK((*all)[0]["command"] == "add port NAME [kind vhost|tap] [queues <N:uint>]");
    CHECK(answer("help sh dr") ==
          R"({"command":"show drops","help":"Shows why packets were dropped.","access":"read"})");
    CHECK(table.run("help show")->size() == 3);
    CHECK(table.run("help port show")->at("help") == "Shows ports.");
    CHECK(error("help foo") == "no command begins with 'foo'; type 'help' for all of them");
}

TEST_CASE_METHOD(Fixture, "completion offers what fits") {
    using Words = std::vector<std::string>;
    const auto complete = [&](std::string_view line) { return table.complete(line, line.size()); };
    CHECK(complete("sh") == Words{"show"});
    CHECK(complete("show ") == Words{"drops", "lcores", "port"});
    CHECK(complete("sh p") == Words{"port"});
    CHECK(complete("show port stats ") == Words{"\"my port\"", "all", "p0", "p1"});
    CHECK(complete("show port stats \"m") == Words{"\"my port\""});
    CHECK(complete("start capture p0 ") == Words{"file", "promisc", "size"});
    CHECK(complete("start capture p0 promisc s") == Words{"size"});
    CHECK(complete("show drops ").empty());
    CHECK(complete("show prot ").empty());
    CHECK(complete("show # p").empty());
    CHECK(complete("po") == Words{"port"});
    CHECK(complete("port ") == Words{"add", "show"});
    CHECK(complete("port sh") == Words{"show"});
    CHECK(complete("port show i") == Words{"info"});
    CHECK(complete("help sho") == Words{"show"});
    CHECK(complete("help show p") == Words{"port"});
    CHECK(table.complete("sh drops", 2) == Words{"show"});
    CHECK(table.complete("sh", 99) == Words{"show"});
    CHECK(complete("").size() == 8);
}

TEST_CASE("grammars that make no sense are refused") {
    CommandTable table;
    const auto refused = [&](const char* grammar) {
        const auto handler = [](const Args&) -> Result<Value> { return Value(); };
        const auto added = table.try_add({grammar, Access::read, "", handler});
        return added ? std::string("accepted") : added.error().message;
    };
    CHECK(refused("show thing") == "accepted");
    CHECK(refused("show thing") == "grammar 'show thing': there is such a command already");
    CHECK(refused("") == "grammar '': must begin with a literal word");
    CHECK(refused("PORT show") == "grammar 'PORT show': must begin with a literal word");
    CHECK(refused("show <N:blob>") == "grammar 'show <N:blob>': an unknown type at column 12");
    CHECK(refused("show [size N") == "grammar 'show [size N': ']' is missing at column 12");
    CHECK(refused("show (a|b") == "grammar 'show (a|b': ')' is missing at column 9");
    CHECK(refused("show A|B") == "grammar 'show A|B': a second variable in one choice at column 8");
    CHECK(refused("copy FILE FILE") == "grammar 'copy FILE FILE': two variables named 'file'");
    CHECK(refused("set <X:rest> y") ==
          "grammar 'set <X:rest> y': something follows a variable of type rest");
    CHECK(refused("show [A B]") ==
          "grammar 'show [A B]': a group of several words must begin with one keyword "
          "at column 10");
    CHECK(refused("show $") == "grammar 'show $': no word at column 5");
}
