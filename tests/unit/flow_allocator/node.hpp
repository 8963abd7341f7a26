#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "normal_dif/core/mgmt/flow_allocator.hpp"

// One member of a DIF, with all that its flow allocator needs, and what comes out sorted by kind.
namespace sluice::test {

using mgmt::AnyAdmission;
using mgmt::Bind;
using mgmt::Drain;
using mgmt::FlowAction;
using mgmt::FlowAllocated;
using mgmt::FlowAllocator;
using mgmt::FlowAllocatorConfig;
using mgmt::FlowDeallocated;
using mgmt::FlowDirectory;
using mgmt::FlowFailed;
using mgmt::FlowOutbox;
using mgmt::FlowRequested;
using mgmt::FlowSpec;
using mgmt::IdPool;
using mgmt::QosCubes;
using mgmt::SendFlowMessage;
using mgmt::SetPeer;
using mgmt::Shut;
using mgmt::Unbind;
using rina::Address;
using rina::AppName;
using rina::CdapMessage;
using rina::CepId;
using rina::FlowRequest;
using rina::OpCode;
using rina::QosId;

inline Instant at_ms(std::int64_t ms) { return Instant::zero() + Duration::milliseconds(ms); }

// What all members know about each other; a test changes it at will.
struct Dif {
    std::map<std::string, Address> addresses;
    std::map<std::string, std::vector<std::string>> applications;  // by process name: where
};

class Directory : public FlowDirectory {
  public:
    Directory(Dif& dif, std::string ipcp, std::int32_t first_id = 3)
        : dif_(dif), ipcp_(std::move(ipcp)), next_id_(first_id) {}

    std::optional<std::string> ipcp_of(const AppName& application,
                                       std::uint32_t pick) const override {
        const auto at = dif_.applications.find(application.process);
        if (at == dif_.applications.end() || at->second.empty()) return std::nullopt;
        return at->second[pick % at->second.size()];
    }
    std::optional<Address> address_of(std::string_view ipcp) const override {
        const auto at = dif_.addresses.find(std::string(ipcp));
        if (at == dif_.addresses.end()) return std::nullopt;
        return at->second;
    }
    bool is_registered_here(const AppName& application) const override {
        const auto at = dif_.applications.find(application.process);
        return at != dif_.applications.end() &&
               std::count(at->second.begin(), at->second.end(), ipcp_) != 0;
    }
    std::int32_t next_invoke_id() override { return next_id_++; }

  private:
    Dif& dif_;
    std::string ipcp_;
    std::int32_t next_id_;
};

struct NodeOptions {
    FlowAllocatorConfig config{};
    QosCubes cubes{};
    AnyAdmission admission{};
    std::int32_t first_id = 3;
    std::uint64_t seed = 1;
    std::uint32_t ids = 65536;
    Duration rest = Duration::seconds(5);
};

struct Node {
    Node(Dif& dif, std::string ipcp, NodeOptions options = {})
        : name(ipcp),
          ports(options.ids, options.rest),
          ceps(options.ids, options.rest),
          directory(dif, ipcp, options.first_id),
          allocator(named(options.config, ipcp), options.cubes, options.admission, ports, ceps,
                    directory, Rng(options.seed)) {}

    static FlowAllocatorConfig named(FlowAllocatorConfig config, std::string ipcp) {
        config.ipcp = std::move(ipcp);
        return config;
    }

    std::string name;
    IdPool ports, ceps;
    Directory directory;
    FlowAllocator allocator;
    FlowOutbox out;

    // All of a kind that is in the outbox.
    template <typename T>
    std::vector<T> all() const {
        std::vector<T> found;
        for (const FlowAction& action : out.actions)
            if (const auto* one = std::get_if<T>(&action)) found.push_back(*one);
        return found;
    }
    // The only one of a kind. (A test that finds none dies, as it should.)
    template <typename T>
    T one() const {
        const std::vector<T> found = all<T>();
        if (found.size() != 1) throw std::runtime_error(fmt::format("{} actions", found.size()));
        return found.front();
    }
    // The place of the first of a kind; beyond the end if there is none.
    template <typename T>
    std::size_t place() const {
        const auto at = std::find_if(out.actions.begin(), out.actions.end(), [](const auto& a) {
            return std::holds_alternative<T>(a);
        });
        return static_cast<std::size_t>(at - out.actions.begin());
    }
    CdapMessage sent() const { return one<SendFlowMessage>().message; }
    void clear() { out.clear(); }
};

inline FlowRequest request_in(const CdapMessage& message) {
    return *rina::decode<FlowRequest>(std::get<rina::Bytes>(message.value));
}
inline CdapMessage with_request(CdapMessage message, const FlowRequest& request) {
    message.value = rina::encode(request);
    return message;
}

inline FlowSpec reliable_spec() {
    FlowSpec spec;
    spec.max_sdu_gap = 0;
    return spec;
}
inline const AppName kClient{"client", "1", "", ""};
inline const AppName kServer{"server", "", "", ""};

// Two members; the server is registered at b.
struct Two {
    explicit Two(NodeOptions options_a = {}, NodeOptions options_b = {})
        : dif{{{"a.IPCP", kA}, {"b.IPCP", kB}}, {{"server", {"b.IPCP"}}}},
          a(dif, "a.IPCP", options_a),
          b(dif, "b.IPCP", other_seed(options_b)) {}
    static NodeOptions other_seed(NodeOptions options) {
        ++options.seed;
        return options;
    }

    static constexpr Address kA{1}, kB{3};
    Dif dif;
    Node a, b;
    Instant now = at_ms(1000);

    // Each takes what the other has said, at once, until nobody says anything any more.
    void exchange() {
        for (bool more = true; more;) {
            more = pass(a, b, kA);
            more = pass(b, a, kB) || more;
        }
    }
    // The rest of the outbox stays where it is.
    bool pass(Node& from, Node& to, Address source) {
        std::vector<CdapMessage> messages;
        for (const SendFlowMessage& send : from.all<SendFlowMessage>())
            messages.push_back(send.message);
        std::erase_if(from.out.actions, [](const FlowAction& action) {
            return std::holds_alternative<SendFlowMessage>(action);
        });
        for (const CdapMessage& message : messages)
            to.allocator.on_message(now, source, message, to.out);
        return !messages.empty();
    }
    // Runs both until `until`, with messages that take no time.
    void run_to(Instant until) {
        for (;;) {
            const Instant next = earlier(a.allocator.next_deadline(), b.allocator.next_deadline());
            if (next > until) break;
            now = std::max(now, next);
            a.allocator.on_timeout(now, a.out);
            b.allocator.on_timeout(now, b.out);
            exchange();
        }
        now = until;
    }
    // A whole flow from a to b; its port-ids.
    std::pair<PortId, PortId> flow(const FlowSpec& spec = {}) {
        const PortId at_a = *a.allocator.allocate(now, kClient, kServer, spec, 7, a.out);
        exchange();
        const PortId at_b = b.one<FlowRequested>().port;
        if (!b.allocator.accept(now, at_b, 8, b.out)) throw std::runtime_error("not accepted");
        exchange();
        a.one<FlowAllocated>();
        a.clear();
        b.clear();
        return {at_a, at_b};
    }
    bool nothing_is_left() {
        return a.allocator.flows() + b.allocator.flows() + a.ports.in_use() + b.ports.in_use() +
                   a.ceps.in_use() + b.ceps.in_use() + a.allocator.unanswered() +
                   b.allocator.unanswered() ==
               0;
    }
};

}  // namespace sluice::test
