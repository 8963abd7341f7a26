#include "rina/rlite_name.hpp"

#include <catch2/catch.hpp>

using namespace sluice::rina;

TEST_CASE("names in rlite's form") {
    const AppName full{"rinaperf-data", "server", "e", "i"};
    CHECK(rlite_name(full) == "rinaperf-data|server|e|i");
    CHECK(rlite_name({"a.IPCP", "", "", ""}) == "a.IPCP");
    CHECK(rlite_name({"a", "", "e", ""}) == "a||e");
    CHECK(rlite_name({"a", "", "", "i"}) == "a|||i");
    CHECK(*parse_rlite_name("rinaperf-data|server|e|i") == full);
    CHECK(*parse_rlite_name("a||e") == AppName{"a", "", "e", ""});
    CHECK(*parse_rlite_name("a||e|") == AppName{"a", "", "e", ""});
    CHECK(*parse_rlite_name("a/b|c") == AppName{"a/b", "c", "", ""});
    CHECK(*parse_rlite_name("\xff\xc3\xa9") == AppName{"\xff\xc3\xa9", "", "", ""});
}

TEST_CASE("names that are refused") {
    const auto message = [](std::string_view text) {
        const auto name = parse_rlite_name(text);
        return name ? std::string() : name.error().message;
    };
    CHECK(message("") == "name has no process name; expected process|instance");
    CHECK(message("|a") == "name has no process name; expected process|instance");
    CHECK(message("a|b|c|d|e") ==
          "name has more than four parts; expected process|instance|entity|entity-instance");
    CHECK(message("a\x1b[2J") == "name has a control character; expected process|instance");
    CHECK(message(std::string(256, 'a')) == "name of 256 bytes, at most 255 are possible");
    CHECK(parse_rlite_name(std::string(255, 'a')).has_value());
}

TEST_CASE("names of applications that go to the wire in this form") {
    const auto message = [](const AppName& name) {
        const auto text = checked_rlite_name(name, 6);
        return text ? std::string() : text.error().message;
    };
    CHECK(*checked_rlite_name({"a/b", "", "c", ""}, 6) == "a/b||c");
    CHECK(message({"", "1", "", ""}) == "an application's name must not be empty");
    for (const AppName& name : {AppName{"a|b", "", "", ""}, AppName{"a", "\x1b", "", ""},
                                AppName{"a", "", "|", ""}, AppName{"a", "", "", "\n"}})
        CHECK(message(name) == "a part of a name has a bar or a control character in it");
    CHECK(message({"a/b", "12", "c", ""}) ==
          "the name a/b|12|c has 8 bytes, at most 6 are possible here");
}

TEST_CASE("what terminals act upon") {
    CHECK(has_control_character(std::string_view("a\0b", 3)));
    CHECK(has_control_character("\x7f"));
    CHECK(has_control_character("\xc2\x9b" "31m"));
    CHECK_FALSE(has_control_character("\xc2\xa0"));
    CHECK_FALSE(has_control_character("\x9b"));
    CHECK_FALSE(is_name_part("a|b"));
    CHECK(is_name_part(""));
}
