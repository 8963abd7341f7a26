#include "app/lcores.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

namespace sluice::app {
namespace {

constexpr unsigned kLcoreMax = 127;  // RTE_MAX_LCORE of Debian's build, less one

std::optional<unsigned> number(std::string_view text) {
    unsigned value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

Result<> add_range(std::string_view text, std::set<unsigned>& out) {
    const std::size_t dash = text.find('-');
    const auto from = number(text.substr(0, dash));
    const auto to = dash == std::string_view::npos ? from : number(text.substr(dash + 1));
    if (!from || !to || *from > *to || *to > kLcoreMax)
        return fail(EINVAL, "lcore list: '{}' is no lcore or range, expected such as 1 or 2-4, at "
                    "most {}", text, kLcoreMax);
    for (unsigned i = *from; i <= *to; ++i) out.insert(i);
    return {};
}

// "1,3-4", "0@0-1,1@1", "(2-3)@(4,5)": the lcores, that is what stands before each '@'.
Result<std::set<unsigned>> lcores_of(std::string_view list) {
    std::set<unsigned> out;
    std::vector<std::string> groups(1);
    int depth = 0;
    for (const char c : list) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (c == ',' && depth == 0)
            groups.emplace_back();
        else
            groups.back() += c;
    }
    for (const std::string& group : groups) {
        std::string ids = group.substr(0, group.find('@'));
        std::erase_if(ids, [](char c) { return c == '(' || c == ')' || c == ' '; });
        for (std::size_t at = 0; at <= ids.size();) {
            const std::size_t comma = std::min(ids.find(',', at), ids.size());
            SLUICE_TRY_VOID(add_range(std::string_view(ids).substr(at, comma - at), out));
            at = comma + 1;
        }
    }
    return out;
}

Result<std::set<unsigned>> lcores_of_mask(std::string_view mask) {
    if (mask.starts_with("0x") || mask.starts_with("0X")) mask.remove_prefix(2);
    std::set<unsigned> out;
    unsigned bit = 0;
    for (auto c = mask.rbegin(); c != mask.rend(); ++c, bit += 4) {
        unsigned digit = 0;
        if (std::from_chars(&*c, &*c + 1, digit, 16).ec != std::errc())
            return fail(EINVAL, "-c {} is no hexadecimal mask of CPUs", mask);
        for (unsigned i = 0; i < 4; ++i)
            if ((digit >> i & 1u) != 0) out.insert(bit + i);
    }
    return out;
}

// The value of "-x V", "-xV", "--long V" or "--long=V".
std::optional<std::string> value_of(const std::vector<std::string>& arguments,
                                    std::string_view option, std::size_t* index = nullptr) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& a = arguments[i];
        if (index != nullptr) *index = i;
        if (a == option && i + 1 < arguments.size()) return arguments[i + 1];
        if (!a.starts_with(option) || a.size() == option.size()) continue;
        if (option.starts_with("--")) {
            if (a[option.size()] == '=') return a.substr(option.size() + 1);
        } else {
            return a.substr(option.size());
        }
    }
    return std::nullopt;
}

void erase_option(std::vector<std::string>& arguments, std::string_view option) {
    std::size_t at = 0;
    if (!value_of(arguments, option, &at)) return;
    const auto first = arguments.begin() + static_cast<std::ptrdiff_t>(at);
    arguments.erase(first, first + (arguments[at] == option ? 2 : 1));
}

}  // namespace

Result<Lcores> complete_lcores(std::vector<std::string>& arguments) {
    std::set<unsigned> ids;
    std::string used;
    for (const char* option : {"-l", "--lcores"})
        if (const auto list = value_of(arguments, option)) {
            SLUICE_TRY(ids, lcores_of(*list));
            used = option;
        }
    if (const auto mask = value_of(arguments, "-c")) {
        SLUICE_TRY(ids, lcores_of_mask(*mask));
        used = "-c";
    }
    Lcores out;
    if (ids.empty()) {
        const auto cpus = static_cast<unsigned>(std::max(1l, sysconf(_SC_NPROCESSORS_ONLN)));
        arguments.push_back(fmt::format("--lcores=0@(0-{}),1@{}", cpus - 1, cpus - 1));
        ids = {0, 1};
    } else if (ids.size() == 1) {
        const unsigned only = *ids.begin();
        const unsigned extra = only == kLcoreMax ? kLcoreMax - 1 : kLcoreMax;
        std::string list = value_of(arguments, used).value_or("");
        const std::string cpu =
            list.find('@') == std::string::npos ? fmt::format("{}", only)
                                                : list.substr(list.find('@') + 1);
        erase_option(arguments, used);
        erase_option(arguments, "--main-lcore");
        arguments.push_back(fmt::format("--lcores={}@{},{}@{}", only, cpu, extra, cpu));
        arguments.push_back(fmt::format("--main-lcore={}", extra));
        ids.insert(extra);
    }
    unsigned main = *ids.begin();
    if (const auto chosen = value_of(arguments, "--main-lcore")) {
        const auto id = number(*chosen);
        if (!id || ids.count(*id) == 0)
            return fail(EINVAL, "--main-lcore {} is not one of the lcores given", *chosen);
        main = *id;
    }
    out.main = LcoreId(static_cast<std::uint16_t>(main));
    for (const unsigned id : ids)
        if (id != main) out.workers.emplace_back(static_cast<std::uint16_t>(id));
    return out;
}

}  // namespace sluice::app
