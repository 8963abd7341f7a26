#include "control/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <fstream>
#include <numeric>
#include <system_error>
#include <toml++/toml.h>
#include <variant>

#include <sys/stat.h>

#include "control/matcher.hpp"
#include "control/units.hpp"

namespace sluice::control {
namespace config_detail {

// A TOML value as our own tree: keys in the order of the file, each with its line, and with a note
// of who asked for what.
struct Node {
    enum class Kind : unsigned char { string, integer, real, boolean, time, array, table };
    struct Child;

    Kind kind = Kind::table;
    int line = 1;
    std::string string;
    std::int64_t integer = 0;
    double real = 0;
    bool boolean = false;
    std::vector<Node> items;
    std::vector<Child> children;

    std::string label;  // of a table
    std::vector<std::string> asked;
    bool ignore_rest = false;
    bool visited = false;  // handed out as a table

    Child* find(std::string_view key);
    const Child* find(std::string_view key) const;
};

struct Node::Child {
    std::string key;
    int line;
    Node node;
};

Node::Child* Node::find(std::string_view key) {
    for (Child& child : children)
        if (child.key == key) return &child;
    return nullptr;
}

const Node::Child* Node::find(std::string_view key) const {
    return const_cast<Node*>(this)->find(key);
}

struct Document {
    struct Complaint {
        int line;
        std::string text;
    };

    std::string name;
    Node root;
    std::deque<Node> absent;  // tables that were asked for and are not there
    std::vector<Complaint> complaints;

    void complain(int line, std::string_view text) {
        std::string full = fmt::format("{}:{}: {}", name, line, text);
        for (const Complaint& known : complaints)
            if (known.text == full) return;
        complaints.push_back({line, std::move(full)});
    }
};

namespace {

std::string place(const Node& table) {
    return table.label.starts_with('[') ? "in " + table.label : "at " + table.label;
}

}  // namespace

void tell_missing(Document& document, const Node& table, const std::string& key) {
    document.complain(table.line, fmt::format("key '{}' is missing {}", key, place(table)));
}

}  // namespace config_detail

namespace {

using config_detail::Document;
using config_detail::Node;
using Kind = config_detail::Node::Kind;

constexpr std::uint64_t kNoMax = INT64_MAX;
constexpr std::size_t kFileBytesMax = 16u << 20;

int line_of_source(const toml::source_region& source) {
    return static_cast<int>(source.begin.line);
}

Node convert(const toml::node& from, const std::string& path, bool in_list);

void convert_table(const toml::table& from, const std::string& path, Node& to) {
    struct Found {
        toml::source_position at;
        std::string_view key;
        const toml::node* node;
    };
    std::vector<Found> found;
    for (const auto& [key, node] : from) found.push_back({key.source().begin, key.str(), &node});
    std::stable_sort(found.begin(), found.end(),
                     [](const Found& a, const Found& b) { return a.at < b.at; });
    for (const Found& child : found) {
        std::string child_path = path.empty() ? "" : path + ".";
        child_path += child.key;
        to.children.push_back({std::string(child.key), static_cast<int>(child.at.line),
                               convert(*child.node, child_path, false)});
    }
}

Node convert(const toml::node& from, const std::string& path, bool in_list) {
    Node to;
    to.line = line_of_source(from.source());
    if (const auto* table = from.as_table()) {
        to.label = in_list ? fmt::format("[[{}]]", path) : fmt::format("[{}]", path);
        convert_table(*table, path, to);
    } else if (const auto* array = from.as_array()) {
        to.kind = Kind::array;
        for (const toml::node& item : *array) to.items.push_back(convert(item, path, true));
    } else if (const auto* string = from.as_string()) {
        to.kind = Kind::string;
        to.string = string->get();
    } else if (const auto* integer = from.as_integer()) {
        to.kind = Kind::integer;
        to.integer = integer->get();
    } else if (const auto* real = from.as_floating_point()) {
        to.kind = Kind::real;
        to.real = real->get();
    } else if (const auto* boolean = from.as_boolean()) {
        to.kind = Kind::boolean;
        to.boolean = boolean->get();
    } else {
        to.kind = Kind::time;
    }
    return to;
}

std::string found_text(const Node& node) {
    switch (node.kind) {
        case Kind::string:
            return fmt::format("the string \"{}\"", one_line(node.string.substr(0, 80)));
        case Kind::integer: return fmt::format("the integer {}", node.integer);
        case Kind::real: return fmt::format("the number {}", node.real);
        case Kind::boolean: return fmt::format("the boolean {}", node.boolean);
        case Kind::time: return "a date or time";
        case Kind::array: return "an array";
        case Kind::table: return "a table";
    }
    return "something else";
}

std::string range_text(std::string_view what, std::uint64_t min, std::uint64_t max) {
    if (max != kNoMax) return fmt::format("{} between {} and {}", what, min, max);
    if (min != 0) return fmt::format("{} of at least {}", what, min);
    return std::string(what);
}

// Levenshtein; keys are short.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
        }
    }
    return row.back();
}

// " (did you mean 'port'?)", or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
    if (word.size() > 64) return "";
    const std::string* best = nullptr;
    std::size_t best_distance = std::min<std::size_t>(3, word.size() / 2 + 1);
    for (const std::string& candidate : known) {
        const std::size_t d = distance(word, candidate);
        if (d < best_distance) {
            best = &candidate;
            best_distance = d;
        }
    }
    return best ? fmt::format(" (did you mean '{}'?)", *best) : "";
}

std::string join(const std::vector<std::string>& items) {
    return fmt::format("{}", fmt::join(items, ", "));
}

void note_asked(Node& table, std::string_view key) { add_once(table.asked, std::string(key)); }

void find_unknown(Document& document, const Node& table) {
    if (table.ignore_rest) return;
    for (const auto& child : table.children) {
        if (std::find(table.asked.begin(), table.asked.end(), child.key) == table.asked.end()) {
            const std::string expected =
                table.asked.empty() ? "nothing is expected there"
                                    : "expected one of " + join(table.asked);
            document.complain(child.line, fmt::format("key '{}' is unknown {}; {}{}",
                                                      one_line(child.key.substr(0, 80)),
                                                      config_detail::place(table), expected,
                                                      did_you_mean(child.key, table.asked)));
            continue;
        }
        if (child.node.visited) find_unknown(document, child.node);
        for (const Node& item : child.node.items)
            if (item.visited) find_unknown(document, item);
    }
}

Result<std::string> read_file(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) < 0)
        return fail(errno, "cannot read config file {}: {}", path, std::strerror(errno));
    if (S_ISDIR(status.st_mode)) return fail(EISDIR, "config file {} is a directory", path);
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string text;
    std::vector<char> piece(64 * 1024);
    while (file && text.size() <= kFileBytesMax) {
        file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        text.append(piece.data(), static_cast<std::size_t>(file.gcount()));
    }
    if (!file.eof() && text.size() <= kFileBytesMax)
        return fail(errno ? errno : EIO, "cannot read config file {}: {}", path,
                    std::strerror(errno ? errno : EIO));
    if (text.size() > kFileBytesMax)
        return fail(EFBIG, "config file {} is larger than {} bytes", path, kFileBytesMax);
    return text;
}

}  // namespace

template <typename T, typename Decode>
ConfigField<T> ConfigTable::field(std::string_view key, std::string_view expected, Decode decode) {
    ConfigField<T> result(document_, node_, std::string(key));
    note_asked(*node_, key);
    const auto* child = node_->find(key);
    if (child == nullptr) return result;
    result.present_ = true;
    result.value_ = decode(child->node);
    if (!result.value_)
        document_->complain(child->line, fmt::format("'{}' must be {}, found {}", key, expected,
                                                     found_text(child->node)));
    return result;
}

// An integer, or a string with a unit.
template <typename T, typename Integer, typename Parse>
ConfigField<T> ConfigTable::quantity(std::string_view key, std::string_view expected,
                                     Integer from_integer, Parse parse) {
    return field<T>(key, expected, [&](const Node& node) -> std::optional<T> {
        if (node.kind == Kind::integer) return from_integer(node.integer);
        if (node.kind == Kind::string) return parse(node.string);
        return std::nullopt;
    });
}

ConfigField<std::string> ConfigTable::string(std::string_view key) {
    return field<std::string>(key, "a string", [](const Node& node) {
        return node.kind == Kind::string ? std::optional(node.string) : std::nullopt;
    });
}

namespace {

std::optional<std::uint64_t> within(std::int64_t value, std::uint64_t min, std::uint64_t max) {
    if (value < 0) return std::nullopt;
    const auto unsigned_value = static_cast<std::uint64_t>(value);
    if (unsigned_value < min || unsigned_value > max) return std::nullopt;
    return unsigned_value;
}

std::optional<std::uint64_t> within(std::optional<std::uint64_t> value, std::uint64_t min,
                                    std::uint64_t max) {
    return value && *value >= min && *value <= max ? value : std::nullopt;
}

std::optional<double> number_of(const Node& node) {
    if (node.kind == Kind::real) return node.real;
    if (node.kind == Kind::integer) return static_cast<double>(node.integer);
    return std::nullopt;
}

}  // namespace

ConfigField<std::uint64_t> ConfigTable::uint(std::string_view key, std::uint64_t min,
                                             std::uint64_t max) {
    const std::string expected =
        min == 0 && max == kNoMax ? "an integer of at least 0" : range_text("an integer", min, max);
    return field<std::uint64_t>(key, expected, [&](const Node& node) {
        return node.kind == Kind::integer ? within(node.integer, min, max) : std::nullopt;
    });
}

ConfigField<std::int64_t> ConfigTable::integer(std::string_view key, std::int64_t min,
                                               std::int64_t max) {
    const std::string expected = fmt::format("an integer between {} and {}", min, max);
    return field<std::int64_t>(key, expected, [&](const Node& node) {
        const bool good = node.kind == Kind::integer && node.integer >= min && node.integer <= max;
        return good ? std::optional(node.integer) : std::nullopt;
    });
}

ConfigField<double> ConfigTable::real(std::string_view key, double min, double max) {
    const std::string expected = fmt::format("a number between {} and {}", min, max);
    return field<double>(key, expected, [&](const Node& node) {
        const auto value = number_of(node);
        return value && *value >= min && *value <= max ? value : std::nullopt;
    });
}

ConfigField<double> ConfigTable::share(std::string_view key) {
    return field<double>(key, "a number between 0 and 1, or a string like \"1%\"",
                         [](const Node& node) -> std::optional<double> {
                             if (node.kind == Kind::string) return parse_share(node.string);
                             const auto value = number_of(node);
                             return value && *value >= 0 && *value <= 1 ? value : std::nullopt;
                         });
}

ConfigField<bool> ConfigTable::boolean(std::string_view key) {
    return field<bool>(key, "true or false", [](const Node& node) {
        return node.kind == Kind::boolean ? std::optional(node.boolean) : std::nullopt;
    });
}

ConfigField<std::string> ConfigTable::choice(std::string_view key,
                                             std::initializer_list<std::string_view> choices) {
    return choice(key, std::vector<std::string>(choices.begin(), choices.end()));
}

ConfigField<std::string> ConfigTable::choice(std::string_view key,
                                             const std::vector<std::string>& choices) {
    const std::string expected = "one of " + join(choices);
    return field<std::string>(key, expected, [&](const Node& node) {
        const bool good = node.kind == Kind::string && std::find(choices.begin(), choices.end(),
                                                                 node.string) != choices.end();
        return good ? std::optional(node.string) : std::nullopt;
    });
}

ConfigField<std::uint64_t> ConfigTable::size(std::string_view key, std::uint64_t min,
                                             std::uint64_t max) {
    return quantity<std::uint64_t>(
        key, range_text("a size like 2048 or \"2K\"", min, max),
        [&](std::int64_t value) { return within(value, min, max); },
        [&](std::string_view text) { return within(parse_size(text), min, max); });
}

ConfigField<std::uint64_t> ConfigTable::rate(std::string_view key, std::uint64_t min,
                                             std::uint64_t max) {
    return quantity<std::uint64_t>(
        key, range_text("a rate like 10000000 or \"10M\"", min, max),
        [&](std::int64_t value) { return within(value, min, max); },
        [&](std::string_view text) { return within(parse_rate(text), min, max); });
}

ConfigField<Duration> ConfigTable::duration(std::string_view key) {
    return quantity<Duration>(
        key, "a duration like \"5ms\"",
        // A bare number has no unit; only zero needs none.
        [](std::int64_t value) { return value == 0 ? std::optional(Duration{}) : std::nullopt; },
        [](std::string_view text) { return parse_duration(text); });
}

ConfigField<std::vector<std::string>> ConfigTable::strings(std::string_view key) {
    using List = std::vector<std::string>;
    return field<List>(key, "a list of strings", [](const Node& node) -> std::optional<List> {
        if (node.kind != Kind::array) return std::nullopt;
        List list;
        for (const Node& item : node.items) {
            if (item.kind != Kind::string) return std::nullopt;
            list.push_back(item.string);
        }
        return list;
    });
}

ConfigField<std::vector<std::uint64_t>> ConfigTable::uints(std::string_view key, std::uint64_t min,
                                                           std::uint64_t max) {
    using List = std::vector<std::uint64_t>;
    return field<List>(key, range_text("a list of integers", min, max),
                       [&](const Node& node) -> std::optional<List> {
                           if (node.kind != Kind::array) return std::nullopt;
                           List list;
                           for (const Node& item : node.items) {
                               const auto value = item.kind == Kind::integer
                                                      ? within(item.integer, min, max)
                                                      : std::nullopt;
                               if (!value) return std::nullopt;
                               list.push_back(*value);
                           }
                           return list;
                       });
}

ConfigTable ConfigTable::table(std::string_view key) {
    note_asked(*node_, key);
    auto* child = node_->find(key);
    if (child != nullptr && child->node.kind == Kind::table) {
        child->node.visited = true;
        return {document_, &child->node, false};
    }
    if (child != nullptr)
        document_->complain(child->line, fmt::format("'{}' must be a table, written [{}], found {}",
                                                     key, key, found_text(child->node)));
    Node& nothing = document_->absent.emplace_back();
    nothing.line = child != nullptr ? child->line : node_->line;
    nothing.label = fmt::format("[{}]", key);
    return {document_, &nothing, true};
}

std::vector<ConfigTable> ConfigTable::tables(std::string_view key) {
    note_asked(*node_, key);
    std::vector<ConfigTable> result;
    auto* child = node_->find(key);
    if (child == nullptr) return result;
    auto& items = child->node.items;
    const auto is_table = [](const Node& item) { return item.kind == Kind::table; };
    if (child->node.kind != Kind::array || !std::all_of(items.begin(), items.end(), is_table)) {
        document_->complain(child->line,
                            fmt::format("'{}' must be a list of tables, written [[{}]], found {}",
                                        key, key, found_text(child->node)));
        return result;
    }
    for (Node& item : items) {
        item.visited = true;
        result.push_back({document_, &item, false});
    }
    return result;
}

bool ConfigTable::has(std::string_view key) const { return node_->find(key) != nullptr; }

std::vector<std::string> ConfigTable::keys() const {
    std::vector<std::string> result;
    for (const auto& child : node_->children) result.push_back(child.key);
    return result;
}

void ConfigTable::ignore_rest() { node_->ignore_rest = true; }

int ConfigTable::line_of(std::string_view key) const {
    const auto* child = node_->find(key);
    return child != nullptr ? child->line : node_->line;
}

std::string ConfigTable::where(std::string_view key) const {
    return fmt::format("{}:{}", document_->name, line_of(key));
}

std::string ConfigTable::where() const {
    return fmt::format("{}:{}", document_->name, node_->line);
}

const std::string& ConfigTable::label() const { return node_->label; }

void ConfigTable::error(std::string_view key, std::string_view message) {
    document_->complain(line_of(key), message);
}

Result<ConfigFile> ConfigFile::load(const std::string& path) {
    SLUICE_TRY(const std::string text, read_file(path));
    return parse(text, path);
}

Result<ConfigFile> ConfigFile::parse(std::string_view text, const std::string& name) {
    auto document = std::make_shared<Document>();
    document->name = name;
    try {
        const toml::table parsed = toml::parse(text, name);
        convert_table(parsed, "", document->root);
    } catch (const toml::parse_error& error) {
        return fail(EINVAL, "{}:{}: {}", name, error.source().begin.line,
                    one_line(error.description()));
    } catch (const std::exception& error) {
        return fail(EINVAL, "{}: {}", name, one_line(error.what()));
    }
    document->root.label = "the top level";
    document->root.visited = true;
    return ConfigFile(std::move(document));
}

ConfigTable ConfigFile::root() const { return {document_, &document_->root, false}; }

const std::string& ConfigFile::path() const { return document_->name; }

std::vector<std::string> ConfigFile::errors() const {
    auto sorted = document_->complaints;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.line < b.line; });
    std::vector<std::string> result;
    for (auto& complaint : sorted) result.push_back(std::move(complaint.text));
    return result;
}

Result<> ConfigFile::finish() {
    find_unknown(*document_, document_->root);
    const auto all = errors();
    if (all.empty()) return {};
    return fail(EINVAL, "{}", fmt::join(all, "\n"));
}

}  // namespace sluice::control
