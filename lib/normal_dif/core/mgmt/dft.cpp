#include "normal_dif/core/mgmt/dft.hpp"

#include "rina/rlite_name.hpp"

namespace sluice::mgmt {

bool DftTraits::is_valid(const Object& entry) {
    const rina::AppName& name = entry.application;
    if (!is_node_name(entry.ipcp) || name.process.empty()) return false;
    std::size_t bytes = 3;  // of bars
    for (const std::string* part :
         {&name.process, &name.instance, &name.entity, &name.entity_instance}) {
        if (!rina::is_name_part(*part)) return false;
        bytes += part->size();
    }
    return bytes <= rina::kNameBytesMax;
}

Dft::Changed Dft::add(Instant now, const rina::AppName& application) {
    rina::DftEntry entry{application, self(), 0};
    if (!DftTraits::is_valid(entry)) {
        Changed out;
        out.refused.add(Refusal::malformed);
        return out;
    }
    return table_.announce(now, std::move(entry));
}

Dft::Changed Dft::remove(Instant now, const rina::AppName& application) {
    return table_.withdraw(now, {application, self(), 0});
}

std::vector<std::string_view> Dft::find(const rina::AppName& application) const {
    std::vector<std::string_view> found;
    table_.store().visit_from({application, {}}, [&](const DftTraits::Store::Slot& slot) {
        if (slot.value.application != application) return false;
        if (!slot.removed) found.push_back(slot.value.ipcp);
        return true;
    });
    return found;
}

std::string_view Dft::pick(const rina::AppName& application, std::uint64_t cookie) const {
    const std::vector<std::string_view> found = find(application);
    return found.empty() ? std::string_view() : found[cookie % found.size()];
}

bool Dft::is_ours(const rina::AppName& application) const {
    return table_.contains({application, self(), 0});
}

}  // namespace sluice::mgmt
