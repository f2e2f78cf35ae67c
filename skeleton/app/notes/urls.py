from django.urls import path

from notes import views

urlpatterns = [
    path("", views.notes, name="notes"),
    path("notes/<int:number>/", views.note, name="note"),
    path("import/", views.import_notes, name="import"),
    path("export/", views.export, name="export"),
]
