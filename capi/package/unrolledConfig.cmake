# unrolled::unrolled is the shared library, unrolled::static the static one; both bring the folder of the headers.
# Paths follow this file, so that the whole tree may be moved.

get_filename_component(_unrolled_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET unrolled::unrolled)
  add_library(unrolled::unrolled SHARED IMPORTED)
  set_target_properties(unrolled::unrolled PROPERTIES
    IMPORTED_LOCATION "${_unrolled_prefix}/lib/@SHARED@"
    INTERFACE_INCLUDE_DIRECTORIES "${_unrolled_prefix}/include")

  add_library(unrolled::static STATIC IMPORTED)
  set_target_properties(unrolled::static PROPERTIES
    IMPORTED_LOCATION "${_unrolled_prefix}/lib/libunrolled_c.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_unrolled_prefix}/include"
    INTERFACE_LINK_LIBRARIES "@NEEDED@")
endif()

unset(_unrolled_prefix)
