#include "normal_dif/core/rmt/pft.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <tuple>

#include "base/rng.hpp"

namespace sluice::rmt {

namespace {

using rina::Address;
using rina::QosId;

constexpr std::uint64_t kMix1 = 0xa0761d6478bd642full;
constexpr std::uint64_t kMix2 = 0xe7037ed1a0b428dbull;

// Both halves of the product: each bit of the result depends on nearly all bits of both.
constexpr std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) noexcept {
    const Uint128 product = static_cast<Uint128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// How many of `total` shares each hop gets: in proportion, the largest remainders rounded up, and
// never none.
std::vector<std::uint32_t> quotas_of(std::span<const NextHop> hops, std::size_t total) {
    std::uint64_t weights = 0;
    for (const NextHop& hop : hops) weights += hop.weight;
    std::vector<std::uint32_t> quotas;
    std::vector<std::pair<std::uint64_t, std::size_t>> remainders;
    std::size_t given = 0;
    for (std::size_t i = 0; i < hops.size(); ++i) {
        const std::uint64_t exact = total * hops[i].weight;
        const bool raised = exact < weights;
        quotas.push_back(raised ? 1 : static_cast<std::uint32_t>(exact / weights));
        remainders.emplace_back(raised ? 0 : exact % weights, i);
        given += quotas.back();
    }
    std::sort(remainders.rbegin(), remainders.rend());
    for (std::size_t at = 0; given < total; at = (at + 1) % hops.size(), ++given)
        ++quotas[remainders[at].second];
    // Shares for those that were raised to one come from whoever has most.
    for (; given > total; --given) --*std::max_element(quotas.begin(), quotas.end());
    return quotas;
}

// Each share goes to the hop that likes it most (rendezvous hashing, with weights) and has not yet
// got its number of them. A hop that comes or goes leaves most shares of the others where they are.
template <std::size_t kCount>
void deal(std::array<std::uint16_t, kCount>& shares, std::span<const NextHop> hops) {
    std::vector<std::uint32_t> left = quotas_of(hops, kCount);
    for (std::size_t share = 0; share < kCount; ++share) {
        std::size_t best = hops.size();
        double best_distance = 0;
        for (std::size_t i = 0; i < hops.size(); ++i) {
            if (left[i] == 0) continue;
            Rng draw(fold_multiply(share + 1, kMix1) ^ hops[i].port.value);
            const double chance = (static_cast<double>(draw.next() >> 11) + 1) * 0x1p-53;
            const double distance = -std::log(chance) / hops[i].weight;
            if (best < hops.size() && distance >= best_distance) continue;
            best = i;
            best_distance = distance;
        }
        shares[share] = hops[best].port.value;
        --left[best];
    }
}

std::string name_of(Address destination, std::optional<QosId> qos) {
    std::string name = destination == kDefaultRoute
                           ? std::string("the default route")
                           : fmt::format("address {}", destination.value);
    if (qos) name += fmt::format(", QoS-id {}", qos->value);
    return name;
}

Result<> check_hops(const Hops& hops, const std::string& of) {
    if (hops.ports.empty() || hops.ports.size() > kHopsMax)
        return fail(EINVAL, "route to {}: {} N-1 ports, expected 1 to {}", of, hops.ports.size(),
                    kHopsMax);
    for (const NextHop& hop : hops.ports) {
        if (!is_n1_port(hop.port))
            return fail(EINVAL, "route to {}: N-1 port {}, expected one below {}", of,
                        hop.port.value, kN1PortsMax);
        if (hop.weight == 0)
            return fail(EINVAL, "route to {}: N-1 port {} has weight 0, expected 1 or more", of,
                        hop.port.value);
        if (std::count_if(hops.ports.begin(), hops.ports.end(),
                          [&](const NextHop& other) { return other.port == hop.port; }) != 1)
            return fail(EINVAL, "route to {}: N-1 port {} is given twice, expected once", of,
                        hop.port.value);
    }
    if (hops.alternate && !is_n1_port(*hops.alternate))
        return fail(EINVAL, "route to {}: alternate N-1 port {}, expected one below {}", of,
                    hops.alternate->value, kN1PortsMax);
    return {};
}

}  // namespace

void AddressTable::assign(std::span<const AddressAnswer> entries, std::uint64_t seed) {
    *this = AddressTable{};
    size_ = entries.size();
    std::uint64_t highest = 0;
    for (const AddressAnswer& entry : entries) highest = std::max(highest, entry.address);
    // Up to here the array is no larger than the hash table would be, or small anyway.
    if (highest < std::max<std::uint64_t>(1024, 4 * entries.size())) {
        if (!entries.empty()) direct_.resize(highest + 1);
        for (const AddressAnswer& entry : entries) direct_[entry.address] = entry.answer;
        return;
    }
    kind_ = highest >> 32 == 0 ? Kind::narrow : Kind::wide;
    if (kind_ == Kind::narrow)
        assign_hashed(narrow_, entries, seed);
    else
        assign_hashed(wide_, entries, seed);
}

template <typename Key>
void AddressTable::assign_hashed(LineTable<Key>& table, std::span<const AddressAnswer> entries,
                                 std::uint64_t seed) {
    constexpr std::size_t kLinesMax = 4;
    Rng rng(seed);
    // Half full, another function is nearly always enough; all of them fail only for a reason that
    // is in the entries, and then room helps in the end.
    std::size_t lines = std::bit_ceil(2 * entries.size() / LineTable<Key>::kSlots + 1);
    for (unsigned tries = 1; !table.fill(entries, lines, rng.next(), kLinesMax); ++tries)
        if (tries % 4 == 0) lines *= 2;
}

std::uint64_t Pft::hash(const FlowKey& flow) const noexcept {
    const std::uint64_t ceps =
        std::uint64_t{flow.destination_cep.value} << 32 | flow.source_cep.value;
    const std::uint64_t ends =
        fold_multiply(flow.destination.value ^ seed_, flow.source.value ^ kMix1);
    return fold_multiply(ends ^ ceps, kMix2 ^ flow.qos.value);
}

std::uint32_t Pft::refine(std::uint32_t answer, QosId qos) const noexcept {
    if (kind_of(answer) != kByQos) return answer;
    const ByQos& entry = by_qos_[index_of(answer)];
    const auto at = std::lower_bound(entry.answers.begin(), entry.answers.end(), qos,
                                     [](const auto& a, QosId q) { return a.first < q; });
    return at != entry.answers.end() && at->first == qos ? at->second : entry.otherwise;
}

std::uint32_t Pft::find_flow(const FlowKey& flow) const noexcept {
    const std::size_t mask = flows_.size() - 1;
    for (std::size_t at = hash(flow) & mask;; at = (at + 1) & mask) {
        const FlowSlot& slot = flows_[at];
        if (slot.answer == 0 || slot.flow == flow) return slot.answer;
    }
}

NextPort Pft::route_rare(const rina::Pci& pci, std::uint32_t answer,
                         const N1PortSet& up) const noexcept {
    const FlowKey flow = flow_of(pci);
    if (!flows_.empty())
        if (const std::uint32_t own = find_flow(flow); own != 0) return follow(own, flow, up);
    answer = refine(answer, pci.qos);
    if (answer == 0) answer = refine(default_, pci.qos);
    if (answer == 0) return {};
    return follow(answer, flow, up);
}

NextPort Pft::follow(std::uint32_t answer, const FlowKey& flow,
                     const N1PortSet& up) const noexcept {
    if (kind_of(answer) == kSpread) return pick(spreads_[index_of(answer)], hash(flow), up);
    if (up.test(first_of(answer))) return {first_of(answer), RouteStatus::found};
    if (up.test(alternate_of(answer))) return {alternate_of(answer), RouteStatus::found};
    return {kNoN1Port, RouteStatus::down};
}

NextPort Pft::pick(const Spread& spread, std::uint64_t hash, const N1PortSet& up) const noexcept {
    // Flows of a port that is down are spread over the others by their weights, with further bits
    // of the hash; flows of other ports do not move.
    for (unsigned shift = 0; shift < 64; shift += 8)
        if (const N1PortId port{spread.shares[hash >> shift & (kShares - 1)]}; up.test(port))
            return {port, RouteStatus::found};
    const std::size_t count = spread.ports.size();
    for (std::size_t i = 0; i < count; ++i) {
        const N1PortId port = spread.ports[(hash % count + i) % count].port;
        if (up.test(port)) return {port, RouteStatus::found};
    }
    if (up.test(spread.alternate)) return {spread.alternate, RouteStatus::found};
    return {kNoN1Port, RouteStatus::down};
}

Hops Pft::hops_of(std::uint32_t answer) const {
    Hops hops;
    N1PortId alternate = alternate_of(answer);
    if (kind_of(answer) == kSpread) {
        hops.ports = spreads_[index_of(answer)].ports;
        alternate = spreads_[index_of(answer)].alternate;
    } else {
        hops.ports = {{first_of(answer), 1}};
    }
    if (is_n1_port(alternate)) hops.alternate = alternate;
    return hops;
}

std::vector<Route> Pft::routes() const {
    std::vector<Route> all;
    const auto visit = [&](std::uint64_t address, std::uint32_t answer) {
        if (answer == 0) return;
        if (kind_of(answer) != kByQos) {
            all.push_back({Address{address}, std::nullopt, hops_of(answer)});
            return;
        }
        const ByQos& entry = by_qos_[index_of(answer)];
        if (entry.otherwise != 0)
            all.push_back({Address{address}, std::nullopt, hops_of(entry.otherwise)});
        for (const auto& [qos, own] : entry.answers)
            all.push_back({Address{address}, qos, hops_of(own)});
    };
    visit(kDefaultRoute.value, default_);
    addresses_.for_each(visit);
    std::sort(all.begin(), all.end(), [](const Route& a, const Route& b) {
        return std::tie(a.destination, a.qos) < std::tie(b.destination, b.qos);
    });
    return all;
}

std::vector<FlowRoute> Pft::flow_routes() const {
    std::vector<FlowRoute> all;
    for (const FlowSlot& slot : flows_)
        if (slot.answer != 0) all.push_back({slot.flow, hops_of(slot.answer)});
    std::sort(all.begin(), all.end(),
              [](const FlowRoute& a, const FlowRoute& b) { return a.flow < b.flow; });
    return all;
}

std::size_t Pft::bytes() const noexcept {
    std::size_t sum = addresses_.bytes() + spreads_.size() * sizeof(Spread) +
                      flows_.size() * sizeof(FlowSlot) + by_qos_.size() * sizeof(ByQos);
    for (const ByQos& entry : by_qos_) sum += entry.answers.size() * sizeof(entry.answers[0]);
    for (const Spread& spread : spreads_) sum += spread.ports.size() * sizeof(NextHop);
    return sum;
}

Result<> PftBuilder::add(Route route) {
    SLUICE_TRY_VOID(check_hops(route.hops, name_of(route.destination, route.qos)));
    routes_.push_back(std::move(route));
    return {};
}

Result<> PftBuilder::add(FlowRoute route) {
    const FlowKey& f = route.flow;
    SLUICE_TRY_VOID(check_hops(
        route.hops, fmt::format("the flow from address {} CEP-id {} to address {} CEP-id {}",
                                f.source.value, f.source_cep.value, f.destination.value,
                                f.destination_cep.value)));
    flows_.push_back(std::move(route));
    return {};
}

std::uint32_t PftBuilder::encode(Pft& pft, const Hops& hops) {
    const N1PortId alternate = hops.alternate.value_or(kNoN1Port);
    if (hops.ports.size() == 1)
        return Pft::kSingle << Pft::kKindShift |
               (alternate.value & Pft::kPortMask) << Pft::kPortBits | hops.ports[0].port.value;
    Pft::Spread spread;
    spread.ports = hops.ports;
    spread.alternate = alternate;
    std::sort(spread.ports.begin(), spread.ports.end(),
              [](const NextHop& a, const NextHop& b) { return a.port < b.port; });
    std::vector<std::uint32_t> key{alternate.value};
    for (const NextHop& hop : spread.ports)
        key.push_back(std::uint32_t{hop.port.value} << 16 | hop.weight);
    const auto index = static_cast<std::uint32_t>(pft.spreads_.size());
    const auto [at, is_new] = spreads_.try_emplace(std::move(key), index);
    if (is_new) {
        deal(spread.shares, spread.ports);
        pft.spreads_.push_back(std::move(spread));
    }
    return Pft::kSpread << Pft::kKindShift | at->second;
}

Result<> PftBuilder::encode_routes(Pft& pft) {
    std::sort(routes_.begin(), routes_.end(), [](const Route& a, const Route& b) {
        return std::tie(a.destination, a.qos) < std::tie(b.destination, b.qos);
    });
    std::vector<AddressAnswer> answers;
    for (std::size_t at = 0, end = 0; at < routes_.size(); at = end) {
        const Address destination = routes_[at].destination;
        Pft::ByQos by_qos;
        for (end = at; end < routes_.size() && routes_[end].destination == destination; ++end) {
            const Route& route = routes_[end];
            if (end > at && routes_[end - 1].qos == route.qos)
                return fail(EEXIST, "two routes to {}, expected one",
                            name_of(destination, route.qos));
            const std::uint32_t answer = encode(pft, route.hops);
            if (route.qos)
                by_qos.answers.emplace_back(*route.qos, answer);
            else
                by_qos.otherwise = answer;
        }
        std::uint32_t answer = by_qos.otherwise;
        if (!by_qos.answers.empty()) {
            answer = Pft::kByQos << Pft::kKindShift |
                     static_cast<std::uint32_t>(pft.by_qos_.size());
            pft.by_qos_.push_back(std::move(by_qos));
        }
        if (destination == kDefaultRoute)
            pft.default_ = answer;
        else
            answers.push_back({destination.value, answer});
    }
    pft.addresses_.assign(answers, pft.seed_);
    return {};
}

Result<> PftBuilder::encode_flows(Pft& pft) {
    if (flows_.empty()) return {};
    pft.flows_.resize(std::bit_ceil(2 * flows_.size()));
    const std::size_t mask = pft.flows_.size() - 1;
    for (const FlowRoute& route : flows_) {
        std::size_t at = pft.hash(route.flow) & mask;
        for (; pft.flows_[at].answer != 0; at = (at + 1) & mask)
            if (pft.flows_[at].flow == route.flow)
                return fail(EEXIST,
                            "two routes of the flow from address {} CEP-id {} to address {} "
                            "CEP-id {}, expected one",
                            route.flow.source.value, route.flow.source_cep.value,
                            route.flow.destination.value, route.flow.destination_cep.value);
        pft.flows_[at] = {route.flow, encode(pft, route.hops)};
    }
    return {};
}

Result<Pft> PftBuilder::build() {
    Pft pft;
    pft.seed_ = Rng(seed_).next();  // dense in ones, as multiplication needs it
    spreads_.clear();
    SLUICE_TRY_VOID(encode_routes(pft));
    SLUICE_TRY_VOID(encode_flows(pft));
    return pft;
}

}  // namespace sluice::rmt
