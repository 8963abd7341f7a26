// The memory of flows that nobody uses yet: allocated between two IPC processes, with all that
// their flow allocators and data transfers keep, connections included, counted in what malloc hands
// out. In the default format, and in the wide one, whose CEP-ids allow a million; once more with
// another client's name for each flow. Prints one line of JSON with bytes a flow, for the ends that
// asked for flows and those that were asked.
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

#include "normal_dif/core/mgmt/flow_allocator.hpp"
#include "normal_dif/core/transfer/data_transfer.hpp"

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
    std::unique_ptr<transfer::DataTransfer> transfer;
    std::unique_ptr<FlowAllocator> flows;

    Member(const char* name, rina::Address address, const rina::PciFormat& format,
           std::size_t count)
        : ports(IdPool::of_width(4, Duration::seconds(1))),
          ceps(IdPool::of_width(format.cep, Duration::seconds(1))) {
        transfer::TransferConfig data;
        data.rmt.format = format;
        data.rmt.own = address;
        transfer = std::make_unique<transfer::DataTransfer>(data);
        FlowAllocatorConfig config;
        config.ipcp = name;
        config.format = format;
        config.flows_max = config.flows_of_member_max = count;
        flows = std::make_unique<FlowAllocator>(config, QosCubes{}, AnyAdmission{}, ports, ceps,
                                                directory, Rng(1));
    }
};

// Carries out what both want until nothing is left.
void exchange(Instant now, Member& a, Member& b, FlowOutbox& from_a) {
    std::vector<std::pair<bool, FlowAction>> todo;
    transfer::TransferOutbox nothing;
    const auto take = [&](bool is_a, FlowOutbox& out) {
        for (FlowAction& action : out.actions) todo.emplace_back(is_a, std::move(action));
        out.clear();
    };
    take(true, from_a);
    for (std::size_t i = 0; i < todo.size(); ++i) {
        const auto [is_a, action] = std::move(todo[i]);
        Member& self = is_a ? a : b;
        FlowOutbox out;
        if (const auto* send = std::get_if<SendFlowMessage>(&action)) {
            (is_a ? b : a).flows->on_message(now, rina::Address{is_a ? 1u : 2u}, send->message,
                                             out);
            take(!is_a, out);
        } else if (const auto* asked = std::get_if<FlowRequested>(&action)) {
            if (!self.flows->accept(now, asked->port, 0, out)) std::abort();
            take(is_a, out);
        } else if (const auto* bind = std::get_if<Bind>(&action)) {
            self.transfer->bind(now, *bind);
        } else if (const auto* peer = std::get_if<SetPeer>(&action)) {
            self.transfer->set_peer(now, *peer, nothing);
        }
    }
}

struct Case {
    const char* format_name;
    const rina::PciFormat& format;
    std::size_t count;
    bool own_names;  // of each flow's client
};

bool allocate(const Case& c, Member& a, Member& b) {
    FlowSpec spec;
    spec.max_sdu_gap = 0;
    spec.in_order = true;
    rina::AppName local{"rinaperf-data", "client", "", ""};
    const rina::AppName remote{"rinaperf-data", "server", "", ""};
    FlowOutbox out;
    Instant now{1'000'000'000};
    for (std::size_t i = 0; i < c.count; ++i) {
        now = now + Duration::milliseconds(1);
        if (c.own_names) local.instance = fmt::format("client-{}", i);
        if (!a.flows->allocate(now, local, remote, spec, 0, out)) return false;
        exchange(now, a, b, out);
        for (Member* member : {&a, &b})
            if (member->flows->next_deadline() <= now) member->flows->on_timeout(now, out);
        exchange(now, a, b, out);
    }
    // Whatever is remembered for a while is forgotten.
    now = now + Duration::seconds(60);
    for (Member* member : {&a, &b}) member->flows->on_timeout(now, out);
    return a.flows->flows() == c.count && b.flows->flows() == c.count &&
           a.transfer->flows() == c.count && b.transfer->flows() == c.count;
}

// What goes with each part when it goes, a flow.
bool measure(std::string& rows, const Case& c) {
    Member a("a.IPCP", rina::Address{1}, c.format, c.count);
    Member b("b.IPCP", rina::Address{2}, c.format, c.count);
    if (!allocate(c, a, b)) return false;
    const auto given_back_by = [&](auto& part) {
        const std::uint64_t before = bytes_in_use();
        part.reset();
        return static_cast<double>(before - bytes_in_use()) / static_cast<double>(c.count);
    };
    for (const bool is_asked : {false, true}) {
        Member& member = is_asked ? b : a;
        const double transfer = given_back_by(member.transfer);
        const double allocator = given_back_by(member.flows);
        rows += fmt::format("{}{{\"format\": \"{}\", \"names\": \"{}\", \"flows\": {}, "
                            "\"end\": \"{}\", \"transfer\": {:.0f}, \"allocator\": {:.0f}, "
                            "\"all\": {:.0f}}}",
                            rows.empty() ? "" : ", ", c.format_name,
                            c.own_names ? "own" : "shared", c.count,
                            is_asked ? "responder" : "initiator", transfer, allocator,
                            transfer + allocator);
    }
    return true;
}

}  // namespace

// --quick: a hundredth of the flows.
int main(int argc, char** argv) {
    const std::size_t part = argc > 1 && std::strcmp(argv[1], "--quick") == 0 ? 100 : 1;
    std::string rows;
    bool good = true;
    for (const bool own_names : {false, true})
        good = good && measure(rows, {"default", rina::kDefaultFormat, 60'000 / part, own_names}) &&
               measure(rows, {"wide", rina::kWideFormat, 1'000'000 / part, own_names});
    fmt::print("{{\"memory\": [{}]}}\n", rows);
    if (!good) fmt::print(stderr, "idle_flows: a flow was not allocated\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
