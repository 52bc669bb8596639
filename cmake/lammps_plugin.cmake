# Target trepidplugin: pair_style trepid as a LAMMPS plugin, in trepid/lammps_plugins/trepidplugin.so.

execute_process(
  COMMAND ${Python_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/find_lammps.py
  OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
if(NOT failed)
  list(GET found 0 default_include)
  list(GET found 1 default_mpi)
  list(GET found 2 default_version)
endif()
set(TREPID_LAMMPS_INCLUDE "${default_include}" CACHE PATH "Folder with the LAMMPS headers (its src folder)")
set(TREPID_MPI_INCLUDE "${default_mpi}" CACHE PATH "Folder with mpi.h; the STUBS folder of LAMMPS for a build without MPI")
set(TREPID_LAMMPS_VERSION "${default_version}" CACHE STRING "Release of that LAMMPS, as it prints it: 22 Jul 2025")

if(NOT TREPID_LAMMPS_INCLUDE OR NOT TREPID_MPI_INCLUDE)
  message(STATUS "LAMMPS or MPI headers not found: pair_style trepid is not built")
  return()
endif()
if(EXISTS "${TREPID_LAMMPS_INCLUDE}/version.h")
  file(STRINGS "${TREPID_LAMMPS_INCLUDE}/version.h" line REGEX "define LAMMPS_VERSION ")
  string(REGEX REPLACE ".*\"(.*)\".*" "\\1" version "${line}")
else()
  set(version "${TREPID_LAMMPS_VERSION}")
endif()
message(STATUS "pair_style trepid for LAMMPS ${version} in ${TREPID_LAMMPS_INCLUDE}")

add_library(trepidplugin MODULE ${native}/lammps/pair_trepid.cpp ${native}/dispatch.cpp ${kernel_objects})
set_target_properties(trepidplugin PROPERTIES PREFIX "" OUTPUT_NAME trepidplugin SUFFIX ".so" CXX_VISIBILITY_PRESET hidden)
target_include_directories(trepidplugin SYSTEM PRIVATE ${TREPID_LAMMPS_INCLUDE} ${TREPID_MPI_INCLUDE})
target_compile_definitions(trepidplugin PRIVATE TREPID_LAMMPS_VERSION="${version}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  target_compile_definitions(trepidplugin PRIVATE TREPID_X86)
endif()
# Symbols of LAMMPS are found when it loads the plugin.
if(APPLE)
  target_link_options(trepidplugin PRIVATE -undefined dynamic_lookup)
endif()
install(TARGETS trepidplugin LIBRARY DESTINATION trepid/lammps_plugins)
