#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"

// TOML files, decoded key by key into the structs of a role:
//
//   SLUICE_TRY(ConfigFile file, ConfigFile::load(path));
//   ConfigTable root = file.root();
//   for (ConfigTable port : root.tables("port"))
//       config.ports.push_back({port.string("name").required(),
//                               port.uint("lcore", 0, 127).optional(0)});
//   SLUICE_TRY_VOID(file.finish());
//
// Decoding never stops at an error: what cannot be had is empty or zero, and finish() tells all
// errors at once, one a line with file:line. Keys that nobody asked for are errors too, so ask for
// everything before finish(), whatever the values are.

namespace sluice::control {

namespace config_detail {
struct Document;
struct Node;
void tell_missing(Document& document, const Node& table, const std::string& key);
}  // namespace config_detail

class ConfigTable;

// One key that was asked for. Says whether it must be there by what is called on it.
template <typename T>
class ConfigField {
  public:
    // An error if the key is missing.
    T required() && {
        if (!value_ && !present_) config_detail::tell_missing(*document_, *table_, key_);
        return value_ ? std::move(*value_) : T{};
    }
    T optional(T fallback) && { return value_ ? std::move(*value_) : std::move(fallback); }
    std::optional<T> maybe() && { return std::move(value_); }

  private:
    friend class ConfigTable;
    ConfigField(std::shared_ptr<config_detail::Document> document, const config_detail::Node* table,
                std::string key)
        : document_(std::move(document)), table_(table), key_(std::move(key)) {}

    std::shared_ptr<config_detail::Document> document_;
    const config_detail::Node* table_;
    std::string key_;
    bool present_ = false;  // present but of a wrong kind has been told already
    std::optional<T> value_;
};

// A [table], one element of a [[list of tables]], or the top level. Cheap to copy.
class ConfigTable {
  public:
    ConfigField<std::string> string(std::string_view key);
    ConfigField<std::uint64_t> uint(std::string_view key, std::uint64_t min = 0,
                                    std::uint64_t max = INT64_MAX);
    ConfigField<std::int64_t> integer(std::string_view key, std::int64_t min, std::int64_t max);
    ConfigField<double> real(std::string_view key, double min, double max);
    ConfigField<double> share(std::string_view key);  // 0 to 1, or "1%"
    ConfigField<bool> boolean(std::string_view key);
    ConfigField<std::string> choice(std::string_view key,
                                    std::initializer_list<std::string_view> choices);
    ConfigField<std::string> choice(std::string_view key, const std::vector<std::string>& choices);
    ConfigField<std::uint64_t> size(std::string_view key, std::uint64_t min = 0,
                                    std::uint64_t max = INT64_MAX);   // 2048 or "2K"
    ConfigField<std::uint64_t> rate(std::string_view key, std::uint64_t min = 0,
                                    std::uint64_t max = INT64_MAX);   // 10000000 or "10M"
    ConfigField<Duration> duration(std::string_view key);             // "5ms"
    ConfigField<std::vector<std::string>> strings(std::string_view key);
    ConfigField<std::vector<std::uint64_t>> uints(std::string_view key, std::uint64_t min = 0,
                                                  std::uint64_t max = INT64_MAX);

    // A sub-table; an absent one reads as empty, with present() false.
    ConfigTable table(std::string_view key);
    std::vector<ConfigTable> tables(std::string_view key);

    bool present() const noexcept { return !absent_; }
    bool has(std::string_view key) const;          // does not count as asking for it
    std::vector<std::string> keys() const;         // in the order of the file
    // Everything else in here is fine; for a table that is given up on after an error.
    void ignore_rest();

    // "vswitch.toml:12", of the key, or of the table if the key is absent.
    std::string where(std::string_view key) const;
    std::string where() const;
    int line_of(std::string_view key) const;
    // "[runtime]", "[[port]]", "the top level".
    const std::string& label() const;

    // Adds the role's own error about a key to what finish() tells: "file:line: message".
    void error(std::string_view key, std::string_view message);

  private:
    friend class ConfigFile;
    ConfigTable(std::shared_ptr<config_detail::Document> document, config_detail::Node* node,
                bool absent)
        : document_(std::move(document)), node_(node), absent_(absent) {}
    // Asks for a key; `decode` gives nothing for a node that is not what `expected` says.
    template <typename T, typename Decode>
    ConfigField<T> field(std::string_view key, std::string_view expected, Decode decode);
    template <typename T, typename Integer, typename Parse>
    ConfigField<T> quantity(std::string_view key, std::string_view expected, Integer from_integer,
                            Parse parse);

    std::shared_ptr<config_detail::Document> document_;
    config_detail::Node* node_;
    bool absent_;
};

class ConfigFile {
  public:
    // Errors of TOML itself carry file:line as well.
    static Result<ConfigFile> load(const std::string& path);
    static Result<ConfigFile> parse(std::string_view text, const std::string& name);

    ConfigTable root() const;
    const std::string& path() const;
    // All errors so far, in the order of the file; unknown keys are looked for here.
    Result<> finish();
    std::vector<std::string> errors() const;

  private:
    explicit ConfigFile(std::shared_ptr<config_detail::Document> document)
        : document_(std::move(document)) {}
    std::shared_ptr<config_detail::Document> document_;
};

}  // namespace sluice::control
