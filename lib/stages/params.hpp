#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "dataplane/graph.hpp"

// The settings of a stage as an operator writes them (key = value), checked against the table of
// its kind before the factory sees them. Pure: --check uses it without EAL.
namespace sluice::stages {

enum class ParamType : std::uint8_t {
    number,  // min..max; 64k and 1.5M are numbers too
    flag,    // yes or no
    rate,    // 1.5Mpps, 10Gbps or max
    mac,     // 02:00:00:00:00:01
    path,    // not empty
    choice,  // one of `choices`
};

struct ParamDesc {
    std::string_view key;
    ParamType type;
    std::string_view def;  // as written; empty: the operator must say it
    std::string_view help;
    std::uint64_t min = 0;
    std::uint64_t max = ~std::uint64_t{0};
    std::string_view choices{};  // "a|b"

    bool required() const noexcept { return def.empty(); }
};

// How often a source sends; per_second == 0: as often as it can.
struct RateValue {
    enum class Unit : std::uint8_t { packets, bits };
    Unit unit = Unit::packets;
    std::uint64_t per_second = 0;
};

// The settings of one stage: all that the table names, checked, with the defaults filled in.
// Asking for a key that the table does not have with this type is a programmer's error.
class Values {
  public:
    std::uint64_t number(std::string_view key) const;
    bool flag(std::string_view key) const;
    RateValue rate(std::string_view key) const;
    std::uint64_t mac(std::string_view key) const;  // 48 bits, first byte highest
    const std::string& text(std::string_view key) const;  // path, choice

  private:
    friend Result<Values> resolve(const dp::NodeSpec&, std::span<const ParamDesc>);
    struct Value {
        ParamType type = ParamType::number;
        std::uint64_t number = 0;
        RateValue rate{};
        std::string text;
    };
    static Result<Value> parse(const ParamDesc& desc, const std::string& text);
    const Value& get(std::string_view key, ParamType type) const;

    std::map<std::string_view, Value> values_;
};

Result<Values> resolve(const dp::NodeSpec& node, std::span<const ParamDesc> params);

// "lab.toml:12: stage gen (txgen): ", for the front of an error.
std::string place_of(const dp::NodeSpec& node);

}  // namespace sluice::stages
