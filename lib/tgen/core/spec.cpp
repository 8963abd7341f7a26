#include "tgen/core/spec.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "base/rng.hpp"

namespace sluice::tgen {

namespace {

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

constexpr std::array<Unit, 6> kMultipliers = {{
    {"", 1}, {"k", 1000}, {"K", 1000}, {"M", 1'000'000}, {"G", 1'000'000'000},
    {"T", 1'000'000'000'000},
}};
constexpr std::array<Unit, 6> kTimes = {{
    {"ns", 1}, {"us", 1000}, {"ms", 1'000'000}, {"s", 1'000'000'000},
    {"min", 60'000'000'000}, {"h", 3'600'000'000'000},
}};

// "1.5" and a unit, exactly: nothing if it is no such number, overflows, or is no whole multiple
// of the smallest unit.
std::optional<std::uint64_t> scaled(std::string_view text, std::span<const Unit> units) {
    std::uint64_t digits = 0;
    std::uint64_t divisor = 1;
    bool fraction = false;
    bool any = false;
    std::size_t at = 0;
    for (; at < text.size(); ++at) {
        const char c = text[at];
        if (c == '.' && !fraction && any) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9') break;
        any = true;
        if (__builtin_mul_overflow(digits, 10u, &digits) ||
            __builtin_add_overflow(digits, static_cast<std::uint64_t>(c - '0'), &digits) ||
            (fraction && __builtin_mul_overflow(divisor, 10u, &divisor))) {
            return std::nullopt;
        }
    }
    if (!any || text[at - 1] == '.') return std::nullopt;
    for (const Unit& unit : units) {
        if (unit.name != text.substr(at)) continue;
        const Uint128 product = static_cast<Uint128>(digits) * unit.factor;
        if (product % divisor != 0) return std::nullopt;
        const Uint128 value = product / divisor;
        if (value > std::numeric_limits<std::uint64_t>::max()) return std::nullopt;
        return static_cast<std::uint64_t>(value);
    }
    return std::nullopt;
}

Result<std::uint32_t> parse_size(std::string_view key, std::string_view text) {
    const auto value = scaled(text, kMultipliers);
    if (!value || *value > kSduSizeMax) {
        return fail(EINVAL, "{}: SDU size '{}' is not a number from 0 to {}", key, text,
                    kSduSizeMax);
    }
    return static_cast<std::uint32_t>(*value);
}

Result<SizeRange> parse_sweep(std::string_view text) {
    const std::size_t first = text.find(':');
    const std::size_t second = first == text.npos ? text.npos : text.find(':', first + 1);
    if (second == text.npos || text.find(':', second + 1) != text.npos) {
        return fail(EINVAL, "sweep: '{}' is not FROM:TO:STEP, such as 0:4000:250", text);
    }
    SizeRange range;
    SLUICE_TRY(range.from, parse_size("sweep", text.substr(0, first)));
    SLUICE_TRY(range.to, parse_size("sweep", text.substr(first + 1, second - first - 1)));
    SLUICE_TRY(range.step, parse_size("sweep", text.substr(second + 1)));
    if (range.from > range.to) {
        return fail(EINVAL, "sweep: '{}' starts above its end; FROM must not exceed TO", text);
    }
    if (range.step == 0) return fail(EINVAL, "sweep: the step of '{}' must be at least 1", text);
    return range;
}

// A limit that was given must limit something.
Result<std::uint64_t> parse_limit(std::string_view key, std::string_view text) {
    const auto value = scaled(text, kMultipliers);
    if (!value || *value == 0) {
        return fail(EINVAL, "{}: '{}' is not a number from 1 on, such as 1000 or 1M", key, text);
    }
    return *value;
}

Result<void> apply(Spec& spec, std::string_view key, std::string_view value) {
    if (key == "size") {
        SLUICE_TRY(const std::uint32_t size, parse_size(key, value));
        spec.sizes = SizeRange::constant(size);
    } else if (key == "sweep") {
        SLUICE_TRY(spec.sizes, parse_sweep(value));
    } else if (key == "rate") {
        SLUICE_TRY(spec.rate, parse_rate(value));
    } else if (key == "burst") {
        SLUICE_TRY(spec.burst, parse_limit(key, value));
    } else if (key == "count") {
        SLUICE_TRY(spec.count, parse_limit(key, value));
    } else if (key == "bytes") {
        SLUICE_TRY(spec.bytes, parse_limit(key, value));
    } else if (key == "duration") {
        SLUICE_TRY(spec.duration, parse_duration(value));
    } else if (key == "file") {
        if (value.empty()) return fail(EINVAL, "file: a path is expected after 'file='");
        spec.file = value;
    } else if (key == "mode") {
        if (value != "stamped" && value != "plain")
            return fail(EINVAL, "mode: '{}' is not a mode, expected stamped or plain", value);
        spec.plain = value == "plain";
    } else {
        return fail(EINVAL,
                    "'{}' is not known; expected size=, sweep=, rate=, burst=, count=, bytes=, "
                    "duration=, mode= or file=",
                    key);
    }
    return {};
}

}  // namespace

Result<std::uint64_t> parse_number(std::string_view text) {
    const auto value = scaled(text, kMultipliers);
    if (!value) return fail(EINVAL, "'{}' is not a whole number such as 1000, 64k or 1.5M", text);
    return *value;
}

Result<Rate> parse_rate(std::string_view text) {
    if (text == "max") return Rate{};
    Rate rate;
    bool known = true;
    if (text.ends_with("pps")) {
        rate.unit = Rate::Unit::packets;
    } else if (text.ends_with("bps")) {
        rate.unit = Rate::Unit::bits;
    } else {
        known = false;
    }
    const auto value =
        known ? scaled(text.substr(0, text.size() - 3), kMultipliers) : std::nullopt;
    if (!value || *value == 0) {
        return fail(EINVAL, "rate: '{}' is not a rate such as 1Mpps, 10Gbps or max", text);
    }
    if (*value > Pacer::kPerSecondMax) {
        return fail(EINVAL, "rate: '{}' is above the most that can be paced, 10T; use max", text);
    }
    rate.per_second = *value;
    return rate;
}

Result<Duration> parse_duration(std::string_view text) {
    const auto value = scaled(text, kTimes);
    constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (!value || *value == 0 || *value > kMax / 4) {
        return fail(EINVAL,
                    "duration: '{}' is not a time such as 500ms, 10s or 2min (units ns, us, ms, "
                    "s, min, h)",
                    text);
    }
    return Duration{static_cast<std::int64_t>(*value)};
}

Result<Spec> parse_spec(std::span<const std::string> words) {
    Spec spec;
    std::vector<std::string_view> seen;
    for (const std::string& word : words) {
        const std::size_t equals = word.find('=');
        if (equals == std::string::npos) {
            return fail(EINVAL, "'{}' is not KEY=VALUE, such as size=1500 or rate=1Mpps", word);
        }
        const std::string_view key = std::string_view(word).substr(0, equals);
        for (const std::string_view s : seen) {
            if (s == key) return fail(EINVAL, "{} is given twice", key);
        }
        seen.push_back(key);
        SLUICE_TRY_VOID(apply(spec, key, std::string_view(word).substr(equals + 1)));
    }
    const auto has = [&seen](std::string_view key) {
        for (const std::string_view s : seen) {
            if (s == key) return true;
        }
        return false;
    };
    if (has("size") && has("sweep")) {
        return fail(EINVAL, "size and sweep exclude each other; give one of them");
    }
    if (!spec.file.empty() && spec.sizes.to == 0) {
        return fail(EINVAL, "file: SDUs of 0 bytes cannot carry a file; expected a size from 1 on");
    }
    if (spec.plain && (!spec.file.empty() || !spec.sizes.is_constant())) {
        return fail(EINVAL, "mode: plain SDUs are all of one size; no file, no sweep");
    }
    if (spec.burst != 0 && spec.rate.unlimited()) {
        return fail(EINVAL, "burst: limits what a rate may save up, so it needs a rate");
    }
    return spec;
}

ClientSettings settings_of(const Spec& spec) noexcept {
    ClientSettings s;
    s.mode = spec.mode();
    s.sizes = spec.sizes;
    s.rate = spec.rate;
    s.count = spec.count;
    s.duration = spec.duration;
    s.bytes = spec.bytes;
    s.burst = spec.burst;
    if (spec.rate.unit == Rate::Unit::bits) {
        const std::uint64_t each = 8 * std::uint64_t{std::max(spec.sizes.to, 1u)};
        if (__builtin_mul_overflow(spec.burst, each, &s.burst)) s.burst = ~std::uint64_t{0};
    }
    return s;
}

std::vector<Field> fields_of(const Report& r, Mode mode) {
    std::vector<Field> f = {
        {"sdus", r.sdus},           {"bytes", r.bytes},
        {"lost", r.lost},           {"reordered", r.reordered},
        {"duplicates", r.duplicates}, {"unstamped", r.unstamped},
        {"foreign", r.foreign},     {"first_arrival_ns", r.first_ns},
        {"last_arrival_ns", r.last_ns}, {"goodput_bps", goodput_bps(r)},
    };
    const std::array<std::pair<std::string_view, std::uint64_t>, 5> latency = {{
        {"latency_min_ns", r.latency_min_ns},
        {"latency_p50_ns", r.latency_p50_ns},
        {"latency_p99_ns", r.latency_p99_ns},
        {"latency_max_ns", r.latency_max_ns},
        {"latency_mean_ns", r.latency_mean_ns},
    }};
    for (const auto& [name, value] : latency) {
        if (r.latency_count > 0) {
            f.push_back({name, value});
        } else {
            f.push_back({name, std::monostate{}});
        }
    }
    if (mode == Mode::raw) f.push_back({"xxh64", fmt::format("{:016x}", r.checksum)});
    return f;
}

std::vector<Field> fields_of(const ClientSession& client) {
    const Duration time = client.sending_time();
    std::vector<Field> f = {
        {"state", std::string(to_string(client.state()))},
        {"sent_sdus", client.sdus_sent()},
        {"sent_bytes", client.bytes_sent()},
        {"sending_ns", static_cast<std::uint64_t>(time.ns)},
    };
    if (client.failure() != ClientFailure::none) {
        f.push_back({"failure", std::string(to_string(client.failure()))});
    }
    if (client.report()) {
        for (Field& field : fields_of(*client.report(), client.settings().mode)) {
            f.push_back(std::move(field));
        }
    }
    return f;
}

std::vector<Field> fields_of(const ServerSession& server) {
    std::vector<Field> f = {{"state", std::string(to_string(server.state()))}};
    if (server.start() && server.state() == ServerState::refused) {
        f.push_back({"client_version", std::uint64_t{server.start()->version}});
    }
    const Mode mode = server.start() ? server.start()->mode : Mode::stamped;
    for (Field& field : fields_of(server.report(), mode)) f.push_back(std::move(field));
    return f;
}

}  // namespace sluice::tgen
