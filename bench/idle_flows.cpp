// The memory of flows that nobody uses yet: allocated between two IPC processes, one connection
// for each at the initiator, counted in what the allocator hands out. In the default format, and
// in the wide one, whose CEP-ids allow a million. Prints one line of JSON with bytes a flow.
#include <fmt/format.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/mgmt/flow_allocator.hpp"

namespace {

using namespace sluice;
using namespace sluice::mgmt;

class Directory : public FlowDirectory {
  public:
    std::optional<std::string> ipcp_of(const rina::AppName&, std::uint32_t) const override {
        return "b.IPCP";
    }
    std::optional<rina::Address> address_of(std::string_view ipcp) const override {
        return rina::Address{ipcp == "a.IPCP" ? 1u : 2u};
    }
    bool is_registered_here(const rina::AppName&) const override { return true; }
    std::int32_t next_invoke_id() override { return ++invoke_id_; }

  private:
    std::int32_t invoke_id_ = 0;
};

std::uint64_t bytes_in_use() {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

struct Member {
    IdPool ports;
    IdPool ceps;
    Directory directory;
    std::unique_ptr<FlowAllocator> flows;

    Member(const char* name, const rina::PciFormat& format, std::size_t count)
        : ports(IdPool::of_width(4, Duration::seconds(1))),
          ceps(IdPool::of_width(format.cep, Duration::seconds(1))) {
        FlowAllocatorConfig config;
        config.ipcp = name;
        config.format = format;
        config.flows_max = config.flows_of_member_max = count;
        flows = std::make_unique<FlowAllocator>(config, QosCubes{}, AnyAdmission{}, ports, ceps,
                                                directory, Rng(1));
    }
};

// Carries messages until none is left.
void exchange(Instant now, Member& a, Member& b, FlowOutbox& from_a) {
    std::vector<std::pair<bool, FlowAction>> todo;
    const auto take = [&](bool is_a, FlowOutbox& out) {
        for (FlowAction& action : out.actions) todo.emplace_back(is_a, std::move(action));
        out.clear();
    };
    take(true, from_a);
    for (std::size_t i = 0; i < todo.size(); ++i) {
        const auto [is_a, action] = std::move(todo[i]);
        FlowOutbox out;
        if (const auto* send = std::get_if<SendFlowMessage>(&action)) {
            (is_a ? b : a).flows->on_message(now, rina::Address{is_a ? 1u : 2u}, send->message,
                                             out);
            take(!is_a, out);
        } else if (const auto* asked = std::get_if<FlowRequested>(&action)) {
            if (!(is_a ? a : b).flows->accept(now, asked->port, 0, out)) std::abort();
            take(is_a, out);
        }
    }
}

bool measure(std::string& rows, const char* name, const rina::PciFormat& format,
             std::size_t count) {
    Member a("a.IPCP", format, count), b("b.IPCP", format, count);
    efcp::ProfileTable profiles;
    FlowSpec spec;
    spec.max_sdu_gap = 0;
    spec.in_order = true;
    const rina::AppName local{"rinaperf-data", "client", "", ""};
    const rina::AppName remote{"rinaperf-data", "server", "", ""};
    FlowOutbox out;
    Instant now{1'000'000'000};
    const std::uint64_t before = bytes_in_use();
    for (std::size_t i = 0; i < count; ++i) {
        now = now + Duration::milliseconds(1);
        if (!a.flows->allocate(now, local, remote, spec, 0, out)) return false;
        exchange(now, a, b, out);
        for (Member* member : {&a, &b})
            if (member->flows->next_deadline() <= now) member->flows->on_timeout(now, out);
        exchange(now, a, b, out);
    }
    // Whatever is remembered for a while is forgotten.
    now = now + Duration::seconds(60);
    for (Member* member : {&a, &b}) member->flows->on_timeout(now, out);
    out = {};
    if (a.flows->flows() != count || b.flows->flows() != count) return false;
    const double both = static_cast<double>(bytes_in_use() - before);

    std::vector<std::unique_ptr<efcp::Connection>> connections(count);
    const std::uint64_t from = bytes_in_use();
    for (std::size_t i = 0; i < count; ++i) {
        efcp::EfcpPolicies policies = efcp::EfcpPolicies::rlite_reliable();
        connections[i] = std::make_unique<efcp::Connection>(efcp::ConnectionIds{},
                                                            profiles.intern({policies, format}));
    }
    const double each = static_cast<double>(count);
    const double connection = static_cast<double>(bytes_in_use() - from) / each + sizeof(void*);
    rows += fmt::format("{}{{\"format\": \"{}\", \"flows\": {}, \"connection\": {:.0f}, "
                        "\"allocator\": {:.0f}, \"all\": {:.0f}}}",
                        rows.empty() ? "" : ", ", name, count, connection, both / 2 / each,
                        connection + both / 2 / each);
    return true;
}

}  // namespace

// --quick: a hundredth of the flows.
int main(int argc, char** argv) {
    const std::size_t part = argc > 1 && std::strcmp(argv[1], "--quick") == 0 ? 100 : 1;
    std::string rows;
    const bool good = measure(rows, "default", rina::kDefaultFormat, 60'000 / part) &&
                      measure(rows, "wide", rina::kWideFormat, 1'000'000 / part);
    fmt::print("{{\"memory\": [{}]}}\n", rows);
    if (!good) fmt::print(stderr, "idle_flows: a flow was not allocated\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
