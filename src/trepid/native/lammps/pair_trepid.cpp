// pair_style trepid [rank R]
// pair_coeff * * MODEL El1 El2 ...
//
// Energy, forces, virial, their per-atom shares, the centroid virial of every atom (compute centroid/stress/atom, for the heat flux:
// compute heat/flux is exact with it), and on demand per atom the live force uncertainty (eV/A, one standard deviation)
// and the support distance (above 1: outside the training data):
//   fix u all pair 10 trepid uncertainty 1 support 1
// The kernel is the one of the Python module; here LAMMPS brings the neighbours and ghosts.
//
// A model with charges has a Coulomb energy of Gaussian charges beside this: the reciprocal part of an Ewald sum, which the
// kspace style of LAMMPS computes. Without it, or with other charges than those of the model, the style refuses to run:
//   atom_style charge
//   kspace_style pppm 3e-5
//   kspace_modify gewald 0.5
//   set type 1 charge 0.4

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "../dispatch.h"
#include "../elements.h"
#include "../model_file.h"
#include "../nearby.h"
#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "kspace.h"
#include "lammpsplugin.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "update.h"
#include "utils.h"

#ifndef TREPID_LAMMPS_VERSION
#error "define TREPID_LAMMPS_VERSION, the release this plugin is built for"
#endif

using namespace LAMMPS_NS;

namespace {

constexpr int kDefaultRank = trepid::kRankBlock;
constexpr double kPi = 3.14159265358979323846;
constexpr double kMassMargin = 1.03;            // Te and I, Co and Ni, Ar and K have masses in the other order by up to 2 %
constexpr double kChargeTolerance = 1e-9;  // e: charges of a data file or a restart file have every digit

// Two floats travel in one double of LAMMPS' communication buffers.
constexpr int reverse_size(int rank) { return 3 * rank / 2; }

class PairTrepid : public Pair {
 public:
  explicit PairTrepid(LAMMPS* lmp) : Pair(lmp) {
    single_enable = 0;
    restartinfo = 0;
    one_coeff = 1;
    manybody_flag = 1;
    centroidstressflag = CENTROID_AVAIL;
    no_virial_fdotr_compute = 1;  // the pair part is summed from both sides, so f.r over ghosts would count it twice
    unit_convert_flag = 0;
    // Read before pair_coeff names a model; without charges `extract` refuses a kspace style.
    ewaldflag = pppmflag = 1;
    // pair_style hybrid reads this before pair_coeff names a model.
    comm_reverse = reverse_size(rank_);
    comm_forward = 1;
  }

  ~PairTrepid() override {
    if (copymode) return;
    forget_kernel();
    std::free(live_);
    memory->destroy(uncertainty_);
    memory->destroy(support_);
    if (allocated) {
      memory->destroy(setflag);
      memory->destroy(cutsq);
    }
  }

  void settings(int narg, char** arg) override {
    if (narg != 0 && narg != 2) error->all(FLERR, "pair_style trepid takes no argument, or: rank R");
    if (narg == 2) {
      if (std::strcmp(arg[0], "rank") != 0) error->all(FLERR, "pair_style trepid: unknown keyword {}; known is rank", arg[0]);
      rank_ = utils::inumeric(FLERR, arg[1], false, lmp);
      if (rank_ < 0 || rank_ % trepid::kRankBlock) error->all(FLERR, "pair_style trepid: rank {} is not a multiple of {}", rank_, trepid::kRankBlock);
      comm_reverse = reverse_size(rank_);
    }
  }

  void coeff(int narg, char** arg) override {
    const int n = atom->ntypes;
    if (narg != 3 + n) error->all(FLERR, "pair_coeff * * MODEL and one element per atom type ({}) are needed, {} arguments were given", n, narg);
    if (std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0) error->all(FLERR, "pair_coeff of trepid starts with * *");
    try {
      tables_ = trepid::ModelTables::read(arg[2]);
    } catch (const std::exception& problem) {
      error->all(FLERR, "pair_coeff: model file {}: {}", arg[2], problem.what());
    }
    if (!tables_.verified && comm->me == 0)
      error->warning(FLERR, "pair_coeff: model file {} has no check sum, so that damage cannot be seen: trepid check {} shows how to add one", arg[2], arg[2]);
    tables_.limit_rank(rank_);
    if (!allocated) {
      memory->create(setflag, n + 1, n + 1, "pair:setflag");
      memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
      allocated = 1;
    }
    species_of_type_.assign(n + 1, -1);
    for (int type = 1; type <= n; ++type) {
      const char* symbol = arg[2 + type];
      if (std::strcmp(symbol, "NULL") == 0) continue;
      for (int s = 0; s < tables_.n_species; ++s)
        if (symbol == std::string(trepid::element_symbol(tables_.numbers[s]))) species_of_type_[type] = s;
      if (species_of_type_[type] < 0) error->all(FLERR, "pair_coeff: element {} is unknown to model {}, which knows{}", symbol, arg[2], known_elements());
    }
    int n_set = 0;
    for (int i = 1; i <= n; ++i)
      for (int j = 1; j <= n; ++j) {
        setflag[i][j] = species_of_type_[i] >= 0 && species_of_type_[j] >= 0;
        n_set += setflag[i][j];
      }
    if (n_set == 0) error->all(FLERR, "pair_coeff of trepid sets no atom type");
    forget_kernel();
    kernel_ = trepid::best_kernel().make(tables_.model());
    if (comm->me == 0)
      utils::logmesg(lmp, "trepid: model {} ({} kernel), cutoffs {} / {} A, {} live directions\n", arg[2], trepid::best_kernel().name, tables_.pair_cutoff, tables_.triplet_cutoff, tables_.rank);
  }

  void init_style() override {
    if (!force->newton_pair) error->all(FLERR, "pair_style trepid needs newton on");
    if (std::strcmp(update->unit_style, "metal") != 0) error->all(FLERR, "pair_style trepid needs units metal");
    if (tables_.has_charges()) require_charges();
    warn_of_masses();
    neighbor->add_request(this, NeighConst::REQ_FULL);
    told_ = false;
  }

  double init_one(int, int) override { return std::max(tables_.pair_cutoff, tables_.triplet_cutoff); }

  void compute(int eflag, int vflag) override {
    ev_init(eflag, vflag);
    const int n_all = atom->nlocal + atom->nghost;
    const bool with_live = wanted_ && tables_.rank > 0;
    if (wanted_ && tables_.rank == 0) error->all(FLERR, "pair_style trepid: this model has no live directions, so no uncertainty");
    if (with_live) clear_live(n_all);
    if (support_wanted_ && !tables_.has_support()) error->all(FLERR, "pair_style trepid: this model has no support data: train it again with trepid fit");
    if (support_wanted_) grow(support_, support_capacity_, "pair:support");
    if (vflag_atom) atom_strain_.assign(6 * static_cast<size_t>(n_all), 0.0);
    double strain[6] = {0, 0, 0, 0, 0, 0};
    const trepid::System system{atom->x[0], atom->type, species_of_type_.data(), nullptr, list->ilist, list->numneigh, list->firstneigh, NEIGHMASK};
    trepid::Output out{0, eflag_atom ? eatom : nullptr, atom->f[0], vflag_either ? strain : nullptr, vflag_atom ? atom_strain_.data() : nullptr, with_live ? live_ : nullptr};
    if (support_wanted_) out.support = support_;
    if (cvflag_atom) {
      atom_virial_.assign(9 * static_cast<size_t>(n_all), 0.0);
      out.atom_virial = atom_virial_.data();
    }
    trepid::best_kernel().compute(kernel_, system, 0, list->inum, out);
    if (eflag_global) eng_vdwl += out.energy;
    // dE/dstrain in the order xx yy zz yz xz xy; LAMMPS expects minus that, as xx yy zz xy xz yz.
    static constexpr int order[6] = {0, 1, 2, 5, 4, 3};
    if (vflag_global)
      for (int v = 0; v < 6; ++v) virial[v] -= strain[order[v]];
    if (vflag_global && tables_.has_charges() && comm->me == 0) {
      // The kspace styles count the energy of the neutralising background of a charged cell, not its pressure.
      const double g = tables_.ewald_parameter(), volume = domain->xprd * domain->yprd * domain->zprd;
      const double background = -0.5 * kPi * force->qqrd2e * total_charge_ * total_charge_ / (g * g * volume);
      for (int v = 0; v < 3; ++v) virial[v] += background;
    }
    if (vflag_atom)
      for (int i = 0; i < atom->nlocal; ++i)
        for (int v = 0; v < 6; ++v) vatom[i][v] -= atom_strain_[6 * static_cast<size_t>(i) + order[v]];
    if (cvflag_atom) {
      // Ghosts too: the compute gives theirs to their owners. Rows a, columns b as xx yy zz xy xz yz yx zx zy.
      static constexpr int entry[9] = {0, 4, 8, 1, 2, 5, 3, 6, 7};
      for (int i = 0; i < n_all; ++i)
        for (int v = 0; v < 9; ++v) cvatom[i][v] -= atom_virial_[9 * static_cast<size_t>(i) + entry[v]];
    }
    if (with_live) finish_live(system);
    if (support_wanted_) finish_support(system);
    if (with_live || support_wanted_ || update->ntimestep == taken_step_) notice_second_configuration(out.energy);
  }

  void* extract(const char* name, int& dimension) override {
    dimension = 0;
    // The kspace styles ask for it, to estimate the error of a real part, which is not there.
    if (std::strcmp(name, "cut_coul") == 0) return tables_.has_charges() ? &tables_.pair_cutoff : nullptr;
    if (std::strcmp(name, "uncertainty_flag") == 0) return &wanted_;
    return std::strcmp(name, "support_flag") == 0 ? &support_wanted_ : nullptr;
  }

  void* extract_peratom(const char* name, int& columns) override {
    columns = 0;
    if (std::strcmp(name, "uncertainty") == 0) return uncertainty_;
    return std::strcmp(name, "support") == 0 ? support_ : nullptr;
  }

  int pack_reverse_comm(int n, int first, double* buffer) override {
    const size_t row = 3 * static_cast<size_t>(tables_.rank);
    std::memcpy(buffer, live_ + first * row, n * row * sizeof(float));
    return n * reverse_size(tables_.rank);
  }

  void unpack_reverse_comm(int n, int* atoms, double* buffer) override {
    const size_t row = 3 * static_cast<size_t>(tables_.rank);
    std::vector<float> ghost(row);
    for (int k = 0; k < n; ++k) {
      std::memcpy(ghost.data(), reinterpret_cast<const char*>(buffer) + k * row * sizeof(float), row * sizeof(float));
      float* own = live_ + atoms[k] * row;
      for (size_t q = 0; q < row; ++q) own[q] += ghost[q];
    }
  }

  int pack_forward_comm(int n, int* atoms, double* buffer, int, int*) override {
    for (int k = 0; k < n; ++k) buffer[k] = sent_[atoms[k]];
    return n;
  }

  void unpack_forward_comm(int n, int first, double* buffer) override { std::copy(buffer, buffer + n, sent_ + first); }

  double memory_usage() override { return Pair::memory_usage() + static_cast<double>(live_capacity_) * sizeof(float) + static_cast<double>(uncertainty_capacity_ + support_capacity_) * sizeof(double); }

 private:
  // Elements given in another order than the atom types run without an error, as another crystal; their masses tell.
  void warn_of_masses() {
    if (!atom->mass || comm->me != 0) return;
    for (int a = 1; a <= atom->ntypes; ++a)
      for (int b = 1; b <= atom->ntypes; ++b) {
        if (species_of_type_[a] < 0 || species_of_type_[b] < 0) continue;
        const auto lighter = tables_.numbers[species_of_type_[a]], heavier = tables_.numbers[species_of_type_[b]];
        if (lighter >= heavier || atom->mass[a] < kMassMargin * atom->mass[b]) continue;
        const char *first = trepid::element_symbol(lighter), *second = trepid::element_symbol(heavier);
        error->warning(FLERR, "pair_style trepid: type {} is {} with mass {:.4g}, type {} is {} with mass {:.4g}: are the elements of pair_coeff in the order of the atom types?", a, first, atom->mass[a], b, second, atom->mass[b]);
        return;
      }
  }

  // The Coulomb energy of the model must be there, and be that of the model.
  void require_charges() {
    if (!(tables_.charge_product[0] >= 0)) error->all(FLERR, "pair_style trepid: the fit of this model gives no real charges (coefficient {}): train it without charges", tables_.charge_product[0]);
    const double g = tables_.ewald_parameter();
    std::string needed = fmt::format("atom_style charge; kspace_style pppm 3e-5; kspace_modify gewald {:.17g}", g);
    for (int type = 1; type <= atom->ntypes; ++type)
      if (species_of_type_[type] >= 0) needed += fmt::format("; set type {} charge {:.17g}", type, tables_.charge(species_of_type_[type]));
    if (!atom->q_flag) error->all(FLERR, "pair_style trepid: this model has charges, and the atom style has none. It needs: {}", needed);
    if (!force->kspace || !(utils::strmatch(force->kspace_style, "^ewald") || utils::strmatch(force->kspace_style, "^pppm")) || !force->kspace->compute_flag)
      error->all(FLERR, "pair_style trepid: this model has charges, and no kspace style ewald or pppm computes their energy. It needs: {}", needed);
    if (force->kspace->slabflag || force->kspace->wireflag || !domain->xperiodic || !domain->yperiodic || !domain->zperiodic)
      error->all(FLERR, "pair_style trepid: this model has charges, which need a box that is periodic in all three directions: give a slab vacuum and boundary p p p");
    if (!(std::fabs(force->kspace->g_ewald - g) < 1e-9 * g) || force->dielectric != 1.0)
      error->all(FLERR, "pair_style trepid: this model has Gaussian charges; the kspace style has gewald {}, dielectric is {}. It needs: {}, and dielectric 1", force->kspace->g_ewald, force->dielectric, needed);
    int wrong = 0, any = 0;
    double own = 0;
    for (int i = 0; i < atom->nlocal; ++i) {
      own += atom->q[i];
      const int species = species_of_type_[atom->type[i]];
      if (species >= 0 && !(std::fabs(atom->q[i] - tables_.charge(species)) < kChargeTolerance)) wrong = 1;
    }
    MPI_Allreduce(&wrong, &any, 1, MPI_INT, MPI_MAX, world);
    if (any) error->all(FLERR, "pair_style trepid: an atom does not have the charge of this model. It needs: {}", needed);
    MPI_Allreduce(&own, &total_charge_, 1, MPI_DOUBLE, MPI_SUM, world);
  }

  void clear_live(int n_all) {
    const size_t needed = 3 * static_cast<size_t>(n_all) * tables_.rank;
    if (needed > live_capacity_) {
      std::free(live_);
      live_capacity_ = needed + needed / 4;
      live_ = static_cast<float*>(std::aligned_alloc(64, (live_capacity_ * sizeof(float) + 63) / 64 * 64));
      if (!live_) error->one(FLERR, "pair_style trepid: no memory for the uncertainty of {} atoms", n_all);
    }
    std::memset(live_, 0, needed * sizeof(float));
  }

  // Room for every atom; atoms of other styles keep 0.
  void grow(double*& values, int& capacity, const char* name) {
    if (atom->nmax <= capacity) return;
    capacity = atom->nmax;
    memory->destroy(values);
    memory->create(values, capacity, name);
    std::fill(values, values + capacity, 0.0);
  }

  // Ghosts give their share of every direction's force to their owners; then squares add up, and every atom takes its
  // share of the atoms around it.
  void finish_live(const trepid::System& system) {
    comm->reverse_comm(this);
    grow(uncertainty_, uncertainty_capacity_, "pair:uncertainty");
    const size_t row = 3 * static_cast<size_t>(tables_.rank);
    for (int i = 0; i < atom->nlocal; ++i) {
      const float* f = live_ + i * row;
      float sum = 0;
      for (size_t q = 0; q < row; ++q) sum += f[q] * f[q];
      uncertainty_[i] = std::sqrt(static_cast<double>(sum));
    }
    find_around(system, uncertainty_);
    for (int i = 0; i < atom->nlocal; ++i) uncertainty_[i] = std::hypot(uncertainty_[i], trepid::kNeighbourShare * around_[i]);
  }

  // The larger of the distance of the atom itself and the mean of those around, each in its own unit.
  void finish_support(const trepid::System& system) {
    find_around(system, support_);
    for (int k = 0; k < list->inum; ++k) {
      const int i = list->ilist[k];
      support_[i] = std::max(support_[i], around_[i] / tables_.support_around[0]);
    }
  }

  // Fix pair asks for its values once a step. Where one step has several configurations (run 0 after run 0, the trials of a
  // line search), it keeps those of the first; LAMMPS offers no way to tell it, so the user is told. Equal energies: the same
  // configuration again, as in the setup of a run that continues.
  void notice_second_configuration(double own_energy) {
    double energy = 0;
    MPI_Allreduce(&own_energy, &energy, 1, MPI_DOUBLE, MPI_SUM, world);
    if (update->ntimestep != taken_step_) {
      taken_step_ = update->ntimestep;
      taken_energy_ = energy;
    } else if (!told_ && std::fabs(energy - taken_energy_) > 1e-9 * std::max(1.0, std::fabs(energy))) {
      told_ = true;
      if (comm->me == 0)
        error->warning(FLERR, "pair_style trepid: step {} has a second configuration, and fix pair keeps the uncertainty of the first: give reset_timestep before run 0, or run 1 after minimize", update->ntimestep);
    }
  }

  // Means of per-atom values around every centre, into around_.
  void find_around(const trepid::System& system, double* values) {
    sent_ = values;
    comm->forward_comm(this);
    around_.resize(atom->nlocal);
    trepid::nearby_mean(system, 0, list->inum, values, tables_.triplet_cutoff, around_.data());
  }

  void forget_kernel() {
    if (kernel_) trepid::best_kernel().destroy(kernel_);
    kernel_ = nullptr;
  }

  std::string known_elements() const {
    std::string names;
    for (const auto z : tables_.numbers) names += std::string(" ") + trepid::element_symbol(z);
    return names;
  }

  int rank_ = kDefaultRank;
  // Set by fix pair before the steps on which it reads the uncertainty or the support distance.
  int wanted_ = 0, support_wanted_ = 0;
  trepid::ModelTables tables_;
  void* kernel_ = nullptr;
  std::vector<int> species_of_type_;
  std::vector<double> atom_strain_, atom_virial_;
  std::vector<double> around_;
  float* live_ = nullptr;
  size_t live_capacity_ = 0;
  double *uncertainty_ = nullptr, *support_ = nullptr;
  double* sent_ = nullptr;  // what forward communication carries
  int uncertainty_capacity_ = 0, support_capacity_ = 0;
  // The step whose values fix pair has taken, and the energy it had.
  bigint taken_step_ = -1;
  double taken_energy_ = 0;
  bool told_ = false;
  double total_charge_ = 0;  // e, for the pressure of the background
};

}  // namespace

static void* create_pair(void* lmp) { return new PairTrepid(static_cast<LAMMPS*>(lmp)); }

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lmp, void* handle, void* register_function) {
  lammpsplugin_t plugin;
  plugin.version = TREPID_LAMMPS_VERSION;
  plugin.style = "pair";
  plugin.name = "trepid";
  plugin.info = "trepid: Bayesian force field with live uncertainty";
  plugin.author = "the trepid developers";
  plugin.creator.v1 = &create_pair;
  plugin.handle = handle;
  (*reinterpret_cast<lammpsplugin_regfunc>(register_function))(&plugin, lmp);
}
