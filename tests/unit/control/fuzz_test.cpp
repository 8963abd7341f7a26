#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "control/command.hpp"
#include "control/config.hpp"
#include "control/json_rpc.hpp"
#include "control/render.hpp"
#include "sample_table.hpp"

using namespace sluice;
using namespace sluice::control;

namespace {

// Half of it from the language, so that it gets past the first check.
std::string noise(Rng& rng, std::initializer_list<const char*> words, const char* joint) {
    std::string text;
    const std::uint64_t pieces = rng.below(12);
    for (std::uint64_t i = 0; i < pieces; ++i) {
        if (rng.chance(0.7)) {
            text += words.begin()[rng.below(words.size())];
        } else {
            const std::uint64_t bytes = rng.below(6);
            for (std::uint64_t k = 0; k < bytes; ++k) text += static_cast<char>(rng.below(256));
        }
        if (rng.chance(0.8)) text += joint;
    }
    return text;
}

}  // namespace

TEST_CASE("100000 random lines are answered or refused in a proper way") {
    CommandTable table;
    sample::fill(table);
    Rng rng(1);
    int good = 0;
    for (int i = 0; i < 100000; ++i) {
        const std::string line =
            noise(rng, {"show", "port", "stats", "info", "all", "p0", "start", "capture", "st",
                        "size", "2K", "promisc", "file", "set", "link", "rate", "10M", "delay",
                        "5ms", "\"", "\\", "#", "help", "drops", "filter", "fail", "add", "kind"},
                  " ");
        const auto value = table.run(line);
        if (value) {
            ++good;
            static_cast<void>(render(*value));
        } else {
            const auto& error = value.error();
            const auto lines = std::count(error.message.begin(), error.message.end(), '\n');
            if (lines != (error.rpc_code == CommandError::kFailed ? 0 : 2) || error.code == 0)
                FAIL(line << " gave " << error.message);
            if (error.rpc_code != CommandError::kFailed &&
                error.message.find("; expected: ") == std::string::npos)
                FAIL(line << " gave " << error.message);
        }
        for (const std::string& word : table.complete(line, rng.below(line.size() + 2)))
            if (word.empty()) FAIL("an empty word for " << line);
    }
    CHECK(good > 1000);
}

TEST_CASE("100000 random requests are answered with JSON or not at all") {
    CommandTable table;
    sample::fill(table);
    RpcDispatcher dispatcher(table, "test", Access::write);
    Rng rng(2);
    int results = 0;
    for (int i = 0; i < 100000; ++i) {
        std::string line;
        if (rng.chance(0.3)) {
            line = noise(rng, {"{", "}", "[", "]", ",", ":", "\"jsonrpc\"", "\"2.0\"", "\"id\"",
                               "1", "\"method\"", "\"show.drops\"", "null", "-1e9", "\"\\u0000\""},
                         "");
        } else {
            // Well-formed with random parts.
            static constexpr const char* kMethods[] = {
                "show.drops", "show.port.stats", "start.capture", "add.port", "console.execute",
                "console.complete", "console.hello", "commands", "help", "fail", "throw", "",
                "x.y"};
            static constexpr const char* kParams[] = {
                "null", "[]", "{}", "{\"port\":\"p0\"}", "{\"port\":{}}",
                "{\"line\":\"show drops\"}",
                "{\"line\":5}", "{\"line\":\"sh\",\"cursor\":-1}",
                "{\"port\":\"p\",\"size\":1e300}",
                "{\"name\":true,\"kind\":\"tap\",\"n\":18446744073709551615}",
                "{\"words\":\"show\"}", "{\"line\":\"sh\",\"cursor\":99999999999}"};
            line = std::string("{\"jsonrpc\":\"2.0\",") + (rng.chance(0.9) ? "\"id\":1," : "") +
                   "\"method\":\"" + kMethods[rng.below(std::size(kMethods))] +
                   "\",\"params\":" + kParams[rng.below(std::size(kParams))] + "}";
            if (rng.chance(0.2)) line[rng.below(line.size())] = static_cast<char>(rng.below(256));
        }
        const std::string answer = dispatcher.handle(line, 1u << 20);
        if (answer.empty()) continue;
        const auto value = parse_json(answer);
        if (!value || answer.back() != '\n' ||
            std::count(answer.begin(), answer.end(), '\n') != 1)
            FAIL(line << " gave " << answer);
        if (value->is_object() && value->contains("result")) ++results;
    }
    CHECK(results > 1000);
}

TEST_CASE("10000 random config files decode or are refused with their line") {
    Rng rng(3);
    int parsed = 0;
    for (int i = 0; i < 10000; ++i) {
        auto file = ConfigFile::parse(
            noise(rng, {"[a]", "[[b]]", "\n", "name = 1", "x = \"y\"", "z = [1, 2]", "=", "'", "\"",
                        "[b.c]", "t = {q = 1}", "1979-05-27", "0x", "1e400", "\"\"\""},
                  "\n"),
            "f");
        if (!file) {
            if (!file.error().message.starts_with("f:")) FAIL(file.error().message);
            continue;
        }
        ++parsed;
        ConfigTable root = file->root();
        static_cast<void>(root.uint("name").required());
        static_cast<void>(root.table("a").string("x").required());
        for (ConfigTable b : root.tables("b")) static_cast<void>(b.table("c").uints("z").maybe());
        const auto finished = file->finish();
        for (const std::string& error : file->errors())
            if (!error.starts_with("f:") || error.find('\n') != std::string::npos) FAIL(error);
        if (finished.has_value() != file->errors().empty()) FAIL("finish() hides errors");
    }
    CHECK(parsed > 100);
}
